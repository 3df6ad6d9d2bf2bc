"""Timing a model before it takes work: which batches run, in which time, and what is learned."""

from collections.abc import Sequence

from inference_server.batching import CostModel
from inference_server.engine.warming import time_batches
from services.kit.clock import ManualClock
from services.kit.errors import CandelaError, Internal
from tests.unit.inference.scripted import Scripted


class Timed(Scripted):
    """Takes so many seconds a batch and an item on a clock that only it moves; odd samples and even ones."""

    def __init__(self, *, batch: float = 0.0, item: float = 0.001, fails: bool = False) -> None:
        super().__init__(max_batch=32)
        self.clock = ManualClock()
        self._batch = batch
        self._item = item
        self._fails = fails

    def samples(self) -> Sequence[int]:
        return (2, 4, 3)

    def run(self, batch: Sequence[int]) -> list[int | CandelaError]:
        self.batches.append(list(batch))
        self.clock.advance(self._batch + self._item * len(batch))
        return [Internal("no") if self._fails else value for value in batch]


def timed(model: Timed, seconds: float) -> list[tuple[object, int, float]]:
    costs = CostModel(32)
    return list(time_batches(model.run, model, 32, seconds, costs, model.clock.monotonic))


def test_every_shape_is_timed_from_one_item_to_the_largest_batch() -> None:
    model = Timed()
    found = timed(model, 10.0)
    assert {(bucket, size) for bucket, size, _ in found} == {(b, n) for b in (0, 1) for n in (1, 4, 16, 32)}
    assert [2, 4, 2, 4] in model.batches, "samples of a shape take turns"
    assert all(abs(took - 0.001 * size) < 1e-9 for _, size, took in found)


def test_no_run_begins_that_would_take_longer_than_what_is_left() -> None:
    model = Timed(item=0.1)
    found = timed(model, 1.0)
    assert {size for _, size, _ in found} == {1, 4}
    assert model.clock.monotonic() <= 1.0 + 1e-9


def test_a_model_that_takes_longer_than_all_the_time_runs_once() -> None:
    model = Timed(batch=5.0)
    timed(model, 0.25)
    assert len(model.batches) == 1


def test_without_time_nothing_runs() -> None:
    model = Timed()
    assert timed(model, 0.0) == []
    assert model.batches == []


def test_batches_with_failures_say_nothing_about_the_model() -> None:
    assert timed(Timed(fails=True), 10.0) == []
