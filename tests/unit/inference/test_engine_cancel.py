"""What nobody wants any more never runs: cancelled, expired, displaced."""

import asyncio
import random
import threading
from collections.abc import Sequence

import pytest

from inference_server import names
from inference_server.batching import Priority
from inference_server.engine import Work
from services.kit.clock import ManualClock
from services.kit.errors import CandelaError, DeadlineExceeded, ResourceExhausted
from tests.support.eventually import eventually
from tests.unit.inference.engines import Start, answers, ask, clock, exporter, metric, running, start, telemetry
from tests.unit.inference.scripted import Scripted

__all__ = ["clock", "exporter", "start", "telemetry"]


async def test_cancelled_items_never_run(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model)
    ask(engine, 2)
    await running(model)
    unwanted, wanted = ask(engine, 4, 6), ask(engine, 8)
    unwanted.submission.cancel()
    unwanted.submission.cancel()
    assert metric(engine, "inference_items_total", outcome=names.CANCELLED) == 2
    model.release(2)
    assert await wanted.results() == [16]
    assert model.batches == [[2], [8]]
    assert unwanted.deliveries == []


async def test_cancelling_what_runs_drops_its_results_only(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model)
    gone = ask(engine, 2)
    await running(model)
    gone.submission.cancel()
    model.release(2)
    assert await answers(engine, 12) == [24]
    assert model.batches == [[2], [12]]
    assert gone.deliveries == []


async def test_a_caller_that_goes_away_takes_its_items_along(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model)
    held = ask(engine, 2)
    await running(model)
    caller = asyncio.ensure_future(answers(engine, 4, 6))
    await eventually(lambda: engine.waiting == 2)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert engine.waiting == 0
    model.release()
    assert await held.results() == [4]
    await eventually(lambda: not engine.busy)
    assert model.batches == [[2]]


async def test_expired_items_never_run(start: Start, clock: ManualClock) -> None:
    model = Scripted(held=True)
    engine = start(model)
    ask(engine, 2)
    await running(model)
    late = ask(engine, 4, 6, work=Work(deadline=clock.monotonic() + 1.0))
    in_time = ask(engine, 8, work=Work(deadline=clock.monotonic() + 60.0))
    clock.advance(2.0)
    model.release(2)
    assert await in_time.results() == [16]
    assert [type(result) for result in await late.results()] == [DeadlineExceeded] * 2
    assert model.batches == [[2], [8]]
    assert metric(engine, "inference_items_total", outcome=names.EXPIRED) == 2


async def test_a_request_whose_time_is_over_is_refused(start: Start, clock: ManualClock) -> None:
    engine = start(Scripted())
    with pytest.raises(DeadlineExceeded):
        ask(engine, 2, work=Work(deadline=clock.monotonic()))
    assert engine.reporter.statistics().refusals == {"deadline": 1}


async def test_what_gives_way_to_higher_priority_is_told_to_come_back(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model, max_items=2)
    ask(engine, 2)
    await running(model)
    low = ask(engine, 4, 6, work=Work(priority=Priority.LOW))
    high = ask(engine, 8, work=Work(priority=Priority.HIGH))
    model.release(10)
    assert await high.results() == [16]
    results = await low.results()
    displaced = [result for result in results if isinstance(result, ResourceExhausted)]
    assert displaced
    assert all(error.reason == "OVERLOADED" and error.retry_after for error in displaced)
    assert metric(engine, "inference_items_total", outcome=names.DISPLACED) == len(displaced)


class Counting(Scripted):
    """Remembers every item that ever ran."""

    def __init__(self) -> None:
        super().__init__(max_batch=16, instances=2)
        self.ran: set[int] = set()
        self._lock = threading.Lock()

    def run(self, batch: Sequence[int]) -> list[int | CandelaError]:
        with self._lock:
            self.ran.update(batch)
        return super().run(batch)


async def test_none_of_ten_thousand_cancelled_in_the_queue_runs(start: Start) -> None:
    """Two instances take batches all the while; an item that a cancellation took out must not be in any."""
    model = Counting()
    engine = start(model, max_items=100_000, max_bytes=100_000)
    chance = random.Random(4)
    offered = 0
    while engine.reporter.statistics().items[names.CANCELLED] < 10_000:
        asked = [ask(engine, 100 + offered + n) for n in range(200)]
        offered += len(asked)
        for one in chance.sample(asked, 150):
            one.submission.cancel()
        await asyncio.sleep(0)
    await eventually(lambda: not engine.busy, timeout=10.0)
    assert len(model.ran) + engine.reporter.statistics().items[names.CANCELLED] == offered
    assert len(model.ran) >= 50, "batches ran while requests were cancelled"
