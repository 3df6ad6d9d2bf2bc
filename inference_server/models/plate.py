"""What plate models give: where plates are, and what stands on one."""

from dataclasses import dataclass
from statistics import fmean

from inference_server.models.text import Character, Corner


@dataclass(frozen=True, slots=True)
class PlateRegion:
    """A plate: its corners from the upper left clockwise in pixels of the picture, and a score from 0 to 1."""

    corners: tuple[Corner, Corner, Corner, Corner]
    score: float


@dataclass(frozen=True, slots=True)
class Plate:
    """A plate as it was read: its characters from left to right, each a fraction of the crop's width."""

    characters: tuple[Character, ...]

    @property
    def text(self) -> str:
        return "".join(character.text for character in self.characters)

    @property
    def confidence(self) -> float:
        """The mean of the characters' confidences; 0 for a plate without characters."""
        return fmean(character.confidence for character in self.characters) if self.characters else 0.0
