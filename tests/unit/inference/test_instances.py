"""One instance: what it does when something outside of the model raises, and how a model on several devices loads."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from inference_server.batching import BatchQueue, Ended, Limits, Taken, Ticket
from inference_server.engine.compute import OnThread
from inference_server.engine.dispatcher import Dispatcher
from inference_server.engine.instances import Instance, Outcome
from inference_server.engine.work import Slot, Submission, Work
from services.kit.clock import SystemClock
from tests.support.eventually import eventually_sync
from tests.unit.inference.scripted import Scripted


class Stumbling(Dispatcher):
    """Fails the first time that it is told of an outcome."""

    stumbled = False

    def next(self, instance: Instance, outcome: Outcome | None) -> Taken[Slot]:
        if outcome is not None and not self.stumbled:
            self.stumbled = True
            raise ZeroDivisionError("the scheduler has a defect")
        return super().next(instance, outcome)


def test_an_instance_outlives_a_defect_and_its_results_arrive(caplog: pytest.LogCaptureFixture) -> None:
    model = Scripted()
    model.load()
    model.warm_up()
    clock = SystemClock()
    dispatcher = Stumbling(BatchQueue(Limits(4)), clock.monotonic)
    instance = Instance(0, OnThread(model), model.card, dispatcher, clock.monotonic)
    posted: list[Sequence[Any]] = []

    def post(outcome: Outcome | None, ended: Sequence[Ended[Slot]]) -> None:
        if outcome is not None:
            posted.append(outcome.results)

    instance.start(post)
    for value in (2, 4):
        _offer(dispatcher, value, clock.monotonic())
        eventually_sync(lambda wanted=[2 * value]: wanted in posted)  # type: ignore[misc] # mypy sees no type of a default
    assert posted == [[4], [8]]
    assert "the scheduler has a defect" in caplog.text
    instance.stop()
    assert instance.join(5.0)


def _offer(dispatcher: Dispatcher, value: int, now: float) -> None:
    submission: Submission[int] = Submission(1, Work(), lambda results: None, lambda submission: None)
    ticket: Ticket[Slot] = Ticket((submission, 0, value), 0, 1, now)
    _, _, woken = dispatcher.offer([(submission, [ticket])], now)
    if woken is not None:
        woken.wake()


async def test_stopping_an_idle_instance_ends_its_thread() -> None:
    model = Scripted()
    clock = SystemClock()
    dispatcher = Dispatcher(BatchQueue(Limits(4)), clock.monotonic)
    instance = Instance(0, OnThread(model), model.card, dispatcher, clock.monotonic)
    instance.start(lambda outcome, ended: None)
    assert not await asyncio.to_thread(instance.join, 0.01)
    instance.stop()
    assert await asyncio.to_thread(instance.join, 5.0)
