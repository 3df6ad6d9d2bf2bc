"""Inputs are gone when their request is over: nothing of tens of megabytes waits for the garbage collector."""

import gc
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.trace import NoOpTracer

from inference_server.engine import Bounds, Engine, Item, Work
from inference_server.models.model import ModelCard, run_prepared
from services.kit.clock import SystemClock
from services.kit.errors import CandelaError, InvalidArgument, ResourceExhausted
from tests.support.eventually import eventually


class Picture:
    """An input that can be watched."""

    def __init__(self, *, good: bool = True, shape: int = 0) -> None:
        self.good = good
        self.shape = shape


class Looks:
    """Says 1 of good pictures and refuses others; pictures of shape 9 have none."""

    card = ModelCard("looks", "1", 4, 1)
    signature = None

    def load(self) -> None:
        """Holds nothing."""

    def warm_up(self) -> None:
        """Has nothing to warm."""

    def samples(self) -> Sequence[Picture]:
        return ()

    def bucket(self, item: Picture) -> int:
        if item.shape == 9:
            raise InvalidArgument("no shape")
        return item.shape

    def run(self, batch: Sequence[Picture]) -> list[int | CandelaError]:
        return run_prepared(batch, _looked_at, lambda good: [1 for _ in good])

    def close(self) -> None:
        """Holds nothing."""


def _looked_at(item: Picture) -> Picture:
    if not item.good:
        raise InvalidArgument("a bad picture")
    return item


@pytest.fixture
async def engine() -> AsyncIterator[Engine[Picture, int]]:
    bounds = Bounds(max_items=2, timing_seconds=0.0)
    engine: Engine[Picture, int] = Engine([Looks()], SystemClock(), NoOpTracer(), bounds)
    engine.load()
    engine.open()
    yield engine
    await engine.close(5.0)


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("kind", [{}, {"good": False}, {"shape": 9}])
async def test_an_input_is_gone_with_its_request(engine: Engine[Picture, int], kind: dict[str, Any]) -> None:
    picture = Picture(**kind)
    watched = weakref.ref(picture)
    (result,) = await engine.answers([Item(picture, 1)], Work())
    assert isinstance(result, InvalidArgument) == bool(kind)
    del picture
    # An instance that idles holds its last batch no longer than the loop needs to tell of it.
    await eventually(lambda: watched() is None)


async def test_an_input_is_gone_when_it_is_refused_or_cancelled(engine: Engine[Picture, int]) -> None:
    pictures = [Picture() for _ in range(3)]
    watched = [weakref.ref(picture) for picture in pictures]
    with pytest.raises(ResourceExhausted):
        engine.submit([Item(picture, 1) for picture in pictures], Work(), lambda results: None)
    engine.submit([Item(pictures[0], 1)], Work(), lambda results: None).cancel()
    del pictures
    await eventually(lambda: [one() for one in watched] == [None] * 3)
