"""A model's defects cost the guilty item and nobody else."""

from collections.abc import Sequence

import pytest

from inference_server.engine import Work
from services.kit.clock import ManualClock
from services.kit.errors import CandelaError, DeadlineExceeded, Internal, ResourceExhausted
from tests.unit.inference.engines import Start, answers, ask, clock, exporter, running, start, telemetry
from tests.unit.inference.scripted import Scripted

__all__ = ["clock", "exporter", "start", "telemetry"]


async def test_an_exception_fails_only_the_item_that_raises_it(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    engine = start(Scripted())
    good, bad, other = await answers(engine, 11, 13, 15)
    assert (good, other) == (22, 30)
    assert isinstance(bad, Internal)
    assert bad.reason == "MODEL_FAILED"
    assert "thirteen" not in bad.message, "what went wrong inside is for the log"
    assert "thirteen" in caplog.text
    assert await answers(engine, 1) == [2]


async def test_a_model_that_always_fails_is_not_tried_forever(start: Start) -> None:
    class Broken(Scripted):
        def run(self, batch: Sequence[int]) -> list[int | CandelaError]:
            self.batches.append(list(batch))
            raise OSError("the device is gone")

    model = Broken(max_batch=32)
    results = await answers(start(model), *range(0, 64, 2))
    assert [type(result) for result in results] == [Internal] * 32
    assert len(model.batches) == 1 + 8, "the batch, and eight of its items alone"


async def test_an_error_of_ours_that_a_batch_raises_is_told_to_the_item(start: Start) -> None:
    class Full(Scripted):
        def run(self, batch: Sequence[int]) -> list[int | CandelaError]:
            if len(batch) > 1 or batch[0] == 4:
                raise ResourceExhausted("no memory on the device", reason="OVERLOADED")
            return super().run(batch)

    first, second = await answers(start(Full()), 2, 4)
    assert first == 4
    assert isinstance(second, ResourceExhausted)


async def test_a_model_that_ends_the_interpreter_fails_its_item(start: Start) -> None:
    class Leaving(Scripted):
        def run(self, batch: Sequence[int]) -> list[int | CandelaError]:
            if 4 in batch:
                raise SystemExit(3)
            return super().run(batch)

    first, second = await answers(start(Leaving()), 2, 4)
    assert first == 4
    assert isinstance(second, Internal)


async def test_items_of_a_failed_batch_run_again_only_if_they_are_wanted_and_in_time(
    start: Start, clock: ManualClock
) -> None:
    model = Scripted(held=True)
    engine = start(model)
    poison = ask(engine, 13, 15)
    gone = ask(engine, 17)
    late = ask(engine, 19, work=Work(deadline=clock.monotonic() + 1.0))
    await running(model)
    if model.batches == [[13, 15]]:  # the first two were taken before the others came
        model.release(3)
        await running(model)
    gone.submission.cancel()
    clock.advance(2.0)
    model.release(10)
    first, second = await poison.results()
    assert isinstance(first, Internal)
    assert second == 30
    (expired,) = await late.results()
    assert isinstance(expired, DeadlineExceeded)
    assert [17] not in model.batches
    assert [19] not in model.batches


async def test_a_model_that_loses_items_is_found_out(start: Start) -> None:
    class Forgetful(Scripted):
        def run(self, batch: Sequence[int]) -> list[int | CandelaError]:
            return super().run(batch)[1:]

    (failure,) = await answers(start(Forgetful()), 2)
    assert isinstance(failure, Internal)
