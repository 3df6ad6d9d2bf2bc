"""The real inference server with one small model that a test can replace: `python -m tests.support.double_server`.

Every load makes a new version, so a caller sees by the answer which one it was.
"""

import time
from collections.abc import Sequence
from functools import partial
from itertools import count

from inference_server.main import compose_with
from inference_server.models.catalogue import Task
from inference_server.models.device import Runtime
from inference_server.models.model import ModelCard
from inference_server.models.picture import Picture
from inference_server.models.source import AnyModel, Listing
from inference_server.models.text import Region
from inference_server.settings import InferenceSettings
from services.kit.bootstrap import run

NAME = "double"
_SECONDS = 0.005


class Double:
    """Takes 5 ms a batch to find one line: twice the picture's size. Refuses to run once it was closed."""

    signature = None

    def __init__(self, version: str) -> None:
        self.card = ModelCard(NAME, version, max_batch=32, instances=2)
        self._loaded = False

    def load(self) -> None:
        """Takes as long as a small model does."""
        time.sleep(20 * _SECONDS)
        self._loaded = True

    def warm_up(self) -> None:
        """Has nothing to warm."""

    def samples(self) -> Sequence[Picture]:
        return ()

    def bucket(self, item: Picture) -> int:
        return 0

    def run(self, batch: Sequence[Picture]) -> list[Sequence[Region]]:
        time.sleep(_SECONDS)
        if not self._loaded:
            raise RuntimeError("the model is closed")
        return [[_doubled(item)] for item in batch]

    def close(self) -> None:
        self._loaded = False


class Source:
    """Has the next version every time it is asked."""

    def __init__(self) -> None:
        self._versions = count(1)
        self._next = next(self._versions)

    def entries(self) -> Sequence[Listing]:
        return [Listing(NAME, str(self._next), Task.DETECT_TEXT)]

    def create(self, name: str, version: str, runtime: Runtime) -> AnyModel:
        self._next = next(self._versions)
        return Double(version)


def _doubled(picture: Picture) -> Region:
    right, bottom = 2.0 * picture.width, 2.0 * picture.height
    return Region(((0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)), 1.0)


if __name__ == "__main__":
    run(InferenceSettings, partial(compose_with, [Source()]))
