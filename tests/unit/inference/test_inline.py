"""When a batch may run on the loop: after enough short runs, never after a long one, not soon after a mistake."""

import threading
from collections.abc import Hashable, Sequence

import pytest

from inference_server.batching import Ticket
from inference_server.engine.inline import Inline
from services.kit.clock import ManualClock
from services.kit.errors import CandelaError
from tests.support.eventually import eventually
from tests.unit.inference.engines import Start, answers, clock, exporter, start, telemetry
from tests.unit.inference.scripted import Scripted

__all__ = ["clock", "exporter", "start", "telemetry"]

_SHORT, _LONG = 10e-6, 5e-3


def tickets(count: int = 1, bucket: Hashable = "a") -> list[Ticket[None]]:
    return [Ticket(None, bucket, 1, 0.0) for _ in range(count)]


@pytest.fixture
def inline(clock: ManualClock) -> Inline:
    return trusted(Inline(clock.monotonic, allowed=True))


def trusted(inline: Inline) -> Inline:
    for _ in range(8):
        inline.learn("a", 1, _SHORT)
    return inline


def test_trust_comes_with_short_runs_of_the_same_shape(clock: ManualClock) -> None:
    inline = Inline(clock.monotonic, allowed=True)
    for _ in range(7):
        inline.learn("a", 1, _SHORT)
    assert not inline.trusts(tickets())
    inline.learn("a", 1, _SHORT)
    assert inline.trusts(tickets())
    assert not inline.trusts(tickets(bucket="b"))
    assert not inline.trusts([*tickets(), *tickets(bucket="b")])


def test_many_items_are_not_trusted_because_one_is(inline: Inline) -> None:
    assert inline.trusts(tickets(10))
    assert not inline.trusts(tickets(11))


def test_a_long_run_ends_the_trust(inline: Inline) -> None:
    inline.learn("a", 1, _LONG)
    assert not inline.trusts(tickets())


def test_after_a_mistake_nothing_runs_on_the_loop_for_longer_each_time(inline: Inline, clock: ManualClock) -> None:
    inline.ran(_LONG)
    assert not trusted(inline).trusts(tickets())
    clock.advance(10.0)
    assert inline.trusts(tickets())
    inline.ran(_LONG)
    clock.advance(19.0)
    assert not trusted(inline).trusts(tickets())
    clock.advance(1.0)
    assert inline.trusts(tickets())


def test_models_in_processes_never_run_on_the_loop(clock: ManualClock) -> None:
    assert not trusted(Inline(clock.monotonic, allowed=False)).trusts(tickets())


def test_what_is_known_of_shapes_does_not_grow_without_end(inline: Inline) -> None:
    for bucket in range(5000):
        inline.learn(bucket, 1, _SHORT)
    assert inline.shapes <= 1024


class Turning(Scripted):
    """Takes as long as it is told, on a clock that only it moves."""

    seconds = 0.0

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def run(self, batch: Sequence[int]) -> list[int | CandelaError]:
        self._clock.advance(self.seconds)
        return super().run(batch)


async def test_a_short_model_moves_to_the_loop_and_leaves_it_when_it_is_long(start: Start, clock: ManualClock) -> None:
    model = Turning(clock)
    engine = start(model)

    async def ran_on_the_loop() -> bool:
        model.threads.clear()
        assert await answers(engine, 2) == [4]
        return model.threads == {threading.get_ident()}

    assert not await ran_on_the_loop()
    await eventually(ran_on_the_loop)
    model.seconds = 0.5
    assert await ran_on_the_loop(), "it was trusted: this one stops the loop"
    assert not await ran_on_the_loop(), "and it is the last"
    model.seconds = 0.0
    for _ in range(20):
        assert not await ran_on_the_loop(), "for a while"
