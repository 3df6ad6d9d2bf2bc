"""What OCR models take and give: regions, line crops, and lines of words and characters with confidence and place."""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean

from inference_server.models.picture import Picture

# Characters of scripts that are written without spaces, and the punctuation and full-width forms that go with them.
_SPACELESS = (
    range(0x1100, 0x1200),
    range(0x2E80, 0xA000),
    range(0xA960, 0xA980),
    range(0xAC00, 0xD800),
    range(0xF900, 0xFB00),
    range(0xFF00, 0xFFF0),
    range(0x20000, 0x40000),
)

Corner = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Region:
    """A line of text: its corners from the upper left clockwise in pixels of the picture, and a score from 0 to 1."""

    corners: tuple[Corner, Corner, Corner, Corner]
    score: float


@dataclass(frozen=True, slots=True)
class LineCrop:
    """A picture of one line, cut out upright, and whether to look first if it is upside down."""

    picture: Picture
    detect_orientation: bool = False


@dataclass(frozen=True, slots=True)
class Character:
    """A character, how sure the model is of it (0 to 1), and where it lies: fractions of the crop's width."""

    text: str
    confidence: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Word:
    """The characters between two spaces, or a run of Han, Kana or Hangul; never empty."""

    characters: tuple[Character, ...]

    @property
    def text(self) -> str:
        return "".join(character.text for character in self.characters)

    @property
    def confidence(self) -> float:
        return fmean(character.confidence for character in self.characters)

    @property
    def start(self) -> float:
        return self.characters[0].start

    @property
    def end(self) -> float:
        return self.characters[-1].end


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it was read: the text with single spaces, and whether the crop was turned by 180° first."""

    text: str
    words: tuple[Word, ...]
    upside_down: bool = False

    @property
    def confidence(self) -> float:
        """The mean of the characters' confidences; 0 for an empty line."""
        scores = [character.confidence for word in self.words for character in word.characters]
        return fmean(scores) if scores else 0.0


def compose(characters: Iterable[Character], *, upside_down: bool = False) -> Line:
    """Cut a line's characters, spaces included, into words."""
    placed = list(characters)
    text = " ".join("".join(character.text for character in placed).split())
    return Line(text, tuple(Word(tuple(run)) for run in _runs(placed)), upside_down)


def _runs(characters: Iterable[Character]) -> Iterator[list[Character]]:
    run: list[Character] = []
    for character in characters:
        if run and (character.text.isspace() or _script_changes(run[-1].text, character.text)):
            yield run
            run = []
        if not character.text.isspace():
            run.append(character)
    if run:
        yield run


def _script_changes(before: str, after: str) -> bool:
    """Whether a word ends between two characters that no space separates; punctuation stays with what it follows."""
    return _is_spaceless(before) != _is_spaceless(after) and not unicodedata.category(after[0]).startswith("P")


def _is_spaceless(character: str) -> bool:
    return any(ord(character[0]) in script for script in _SPACELESS)
