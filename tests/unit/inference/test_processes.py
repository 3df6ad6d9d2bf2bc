"""Instances in processes of their own: the same answers, large arrays, and a process that dies."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from opentelemetry.trace import NoOpTracer

from inference_server.engine import Bounds, Engine, Item, Work
from inference_server.models.model import ModelCard, Placement
from inference_server.models.weights import WeightsError
from services.kit.clock import SystemClock
from services.kit.errors import CandelaError, Internal, InvalidArgument
from tests.support.eventually import eventually

_ABSENT, _POISON, _DEFECT = -1, 13, 14


class Apart:
    """Doubles numbers and arrays in a process of its own, and says which one; 13 kills the process, 14 is a defect."""

    signature = None

    def __init__(self, instances: int = 1, *, fails_to_load: bool = False) -> None:
        self.card = ModelCard("apart", "1", 8, instances, Placement.PROCESS)
        self._fails_to_load = fails_to_load

    def load(self) -> None:
        if self._fails_to_load:
            raise WeightsError("there are no weights")

    def warm_up(self) -> None:
        """Has nothing to warm."""

    def samples(self) -> Sequence[Any]:
        return ()

    def bucket(self, item: Any) -> str:
        return type(item).__name__

    def run(self, batch: Sequence[Any]) -> list[Any]:
        if any(isinstance(item, int) and item == _POISON for item in batch):
            os._exit(9)
        if any(isinstance(item, int) and item == _DEFECT for item in batch):
            raise ArithmeticError("fourteen")
        return [self._doubled(item) for item in batch]

    def close(self) -> None:
        """Holds nothing."""

    def _doubled(self, item: Any) -> Any:
        if isinstance(item, int) and item < 0:
            return InvalidArgument("negative", metadata={"pid": str(os.getpid())})
        return os.getpid() if isinstance(item, str) else 2 * item


async def started(model: Apart) -> Engine[Any, Any]:
    engine: Engine[Any, Any] = Engine([model], SystemClock(), NoOpTracer(), Bounds(timing_seconds=0.0))
    await asyncio.to_thread(engine.load)
    engine.open()
    return engine


@pytest.fixture
async def engine() -> AsyncIterator[Engine[Any, Any]]:
    engine = await started(Apart())
    yield engine
    await engine.close(5.0)


async def answers(engine: Engine[Any, Any], *values: Any) -> list[Any]:
    return await asyncio.wait_for(engine.answers([Item(value, 1) for value in values], Work()), 30.0)


async def test_answers_come_from_another_process_in_order(engine: Engine[Any, Any]) -> None:
    assert await answers(engine, 1, 2, 3, 4, 5, 6, 7, 8, 9) == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    (pid,) = await answers(engine, "pid")
    assert psutil.Process(pid).ppid() == os.getpid()


async def test_large_arrays_travel_both_ways_and_stay_what_they_are(engine: Engine[Any, Any]) -> None:
    def arrays(side: int) -> list[npt.NDArray[np.float32]]:
        return [np.full((side, side), number, dtype=np.float32) for number in range(4)]

    small, large, larger = [await answers(engine, *arrays(side)) for side in (3, 300, 700)]
    for side, results in ((3, small), (300, large), (700, larger)):
        for given, got in zip(arrays(side), results, strict=True):
            np.testing.assert_array_equal(got, 2 * given)
    turned = np.arange(90_000, dtype=np.float32).reshape(300, 300).T  # not in one piece in C order
    (result,) = await answers(engine, turned)
    np.testing.assert_array_equal(result, 2 * turned)


async def test_errors_of_single_items_and_of_batches_come_back(
    engine: Engine[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    good, bad, broken, other = await answers(engine, 1, _ABSENT, _DEFECT, 4)
    assert (good, other) == (2, 8)
    assert isinstance(bad, InvalidArgument)
    assert bad.metadata["pid"] != str(os.getpid())
    assert isinstance(broken, Internal)
    assert "fourteen" in caplog.text


async def test_a_process_that_dies_costs_only_the_guilty_item(engine: Engine[Any, Any]) -> None:
    (before,) = await answers(engine, "pid")
    good, guilty, other = await answers(engine, 1, _POISON, 3)
    assert (good, other) == (2, 6)
    assert isinstance(guilty, Internal)
    assert guilty.reason == "MODEL_FAILED"
    (after,) = await answers(engine, "pid")
    assert after != before
    assert not psutil.pid_exists(before)


async def test_a_process_that_is_killed_while_idle_is_started_again(engine: Engine[Any, Any]) -> None:
    (pid,) = await answers(engine, "pid")
    process = psutil.Process(pid)
    process.kill()
    await eventually(lambda: not engine.ready)
    await eventually(lambda: engine.ready, timeout=20.0)  # without anybody asking for it
    assert await answers(engine, 5) == [10]


async def test_every_instance_has_a_process_and_all_end_with_the_engine() -> None:
    engine = await started(Apart(instances=2))
    pids: set[int] = set()

    async def both_answered() -> bool:
        found: list[list[CandelaError | int]] = await asyncio.gather(*(answers(engine, "pid") for _ in range(20)))
        pids.update(pid for (pid,) in found if isinstance(pid, int))
        return len(pids) == 2

    await eventually(both_answered, timeout=20.0)
    await engine.close(5.0)
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_a_model_that_is_not_kept_leaves_no_process() -> None:
    before = {child.pid for child in psutil.Process().children()}
    engine: Engine[Any, Any] = Engine([Apart(instances=2)], SystemClock(), NoOpTracer(), Bounds(timing_seconds=0.0))
    await asyncio.to_thread(engine.load)
    assert len({child.pid for child in psutil.Process().children()} - before) == 2
    await asyncio.to_thread(engine.discard)
    assert {child.pid for child in psutil.Process().children()} <= before


async def test_what_the_model_raises_when_it_loads_is_raised_here() -> None:
    with pytest.raises(WeightsError, match="there are no weights"):
        await started(Apart(fails_to_load=True))


async def test_a_model_that_cannot_move_is_refused() -> None:
    model = Apart()
    model.trouble = lambda: None  # type: ignore[attr-defined] # a lambda cannot be pickled
    with pytest.raises(WeightsError, match="cannot move"):
        await started(model)
