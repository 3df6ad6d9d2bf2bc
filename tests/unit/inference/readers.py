"""Text models for tests of the calls: they find and read by rules that a test can predict."""

from collections.abc import Sequence

from inference_server.models.model import ModelCard, run_prepared
from inference_server.models.picture import Picture
from inference_server.models.text import Character, Line, LineCrop, Region, compose
from services.kit.errors import CandelaError, InvalidArgument


class Finder:
    """Finds one line that covers the whole picture; a picture whose first byte is 255 cannot be looked at."""

    card = ModelCard("finder", "7", max_batch=4, instances=1)

    def load(self) -> None:
        """Holds no weights."""

    def warm_up(self) -> None:
        """Has nothing to warm."""

    def bucket(self, item: Picture) -> tuple[int, int]:
        return item.width, item.height

    def run(self, batch: Sequence[Picture]) -> list[Sequence[Region] | CandelaError]:
        return run_prepared(batch, _looked_at, lambda good: [[_whole(item)] for item in good])


class Reader:
    """Reads "ab c" from every crop, upside down if it was asked to look."""

    card = ModelCard("reader", "1", max_batch=4, instances=1)

    def load(self) -> None:
        """Holds no weights."""

    def warm_up(self) -> None:
        """Has nothing to warm."""

    def bucket(self, item: LineCrop) -> int:
        return item.picture.width

    def run(self, batch: Sequence[LineCrop]) -> list[Line | CandelaError]:
        characters = [Character(letter, 0.5 + i / 8, i / 4, (i + 1) / 4) for i, letter in enumerate("ab c")]
        return [compose(characters, upside_down=item.detect_orientation) for item in batch]


def _looked_at(item: Picture) -> Picture:
    if item.data[0] == 255:
        raise InvalidArgument("too bright", reason="MEDIA_UNREADABLE")
    return item


def _whole(item: Picture) -> Region:
    right, bottom = float(item.width), float(item.height)
    return Region(((0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)), 0.75)
