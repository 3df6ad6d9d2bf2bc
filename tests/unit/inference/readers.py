"""Models for tests of the calls: they find, read and embed by rules that a test can predict."""

import struct
from collections.abc import Sequence

from inference_server.models.embedding import Embedding
from inference_server.models.model import ModelCard, run_prepared
from inference_server.models.picture import Picture
from inference_server.models.plate import Plate, PlateRegion
from inference_server.models.text import Character, Corner, Line, LineCrop, Region, compose
from services.kit.errors import CandelaError, InvalidArgument


class _Weightless:
    """What all of them share: nothing to load, to warm, to sample or to give back."""

    signature = None

    def load(self) -> None:
        """Holds no weights."""

    def samples(self) -> Sequence[object]:
        return ()

    def warm_up(self) -> None:
        """Has nothing to warm."""

    def close(self) -> None:
        """Holds nothing."""


class Finder(_Weightless):
    """Finds one line that covers the whole picture; a picture whose first byte is 255 cannot be looked at."""

    card = ModelCard("finder", "7", max_batch=4, instances=1)

    def bucket(self, item: Picture) -> tuple[int, int]:
        return item.width, item.height

    def run(self, batch: Sequence[Picture]) -> list[Sequence[Region] | CandelaError]:
        return run_prepared(batch, _looked_at, lambda good: [[Region(_whole(item), 0.75)] for item in good])


class Reader(_Weightless):
    """Reads "ab c" from every crop, upside down if it was asked to look."""

    card = ModelCard("reader", "1", max_batch=4, instances=1)

    def bucket(self, item: LineCrop) -> int:
        return item.picture.width

    def run(self, batch: Sequence[LineCrop]) -> list[Line | CandelaError]:
        return [compose(_characters("ab c"), upside_down=item.detect_orientation) for item in batch]


class PlateFinder(_Weightless):
    """Finds a sure plate on all of the picture and another on its upper left pixel; bright pictures fail."""

    card = ModelCard("plate-finder", "2", max_batch=4, instances=1)

    def bucket(self, item: Picture) -> tuple[int, int]:
        return item.width, item.height

    def run(self, batch: Sequence[Picture]) -> list[Sequence[PlateRegion] | CandelaError]:
        return run_prepared(batch, _looked_at, lambda good: [_plates(item) for item in good])


class PlateReader(_Weightless):
    """Reads as many letters as the crop has pixels in a row; bright crops fail."""

    card = ModelCard("plate-reader", "3", max_batch=4, instances=1)

    def bucket(self, item: Picture) -> int:
        return 0

    def run(self, batch: Sequence[Picture]) -> list[Plate | CandelaError]:
        return run_prepared(
            batch, _looked_at, lambda good: [Plate(_characters("ABCDEFGH"[: item.width])) for item in good]
        )


class Counter(_Weightless):
    """Embeds a text as its length and 1; a text of spaces cannot be read."""

    card = ModelCard("counter", "1", max_batch=4, instances=1)

    def bucket(self, item: str) -> int:
        return 0

    def run(self, batch: Sequence[str]) -> list[Embedding | CandelaError]:
        return [
            Embedding(struct.pack("<2f", len(text), 1.0), len(text))
            if text.strip()
            else InvalidArgument("there is nothing to read in the text")
            for text in batch
        ]


def _characters(text: str) -> tuple[Character, ...]:
    return tuple(Character(letter, 0.5 + i / 8, i / len(text), (i + 1) / len(text)) for i, letter in enumerate(text))


def _plates(item: Picture) -> list[PlateRegion]:
    pixel = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    return [PlateRegion(_whole(item), 0.875), PlateRegion(pixel, 0.75)]


def _looked_at(item: Picture) -> Picture:
    if item.data[0] == 255:
        raise InvalidArgument("too bright", reason="MEDIA_UNREADABLE")
    return item


def _whole(item: Picture) -> tuple[Corner, Corner, Corner, Corner]:
    right, bottom = float(item.width), float(item.height)
    return (0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)
