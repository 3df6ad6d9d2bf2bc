"""The scheduling policy on simulated time: its promises as properties, and a few exact cases."""

from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inference_server.batching import BatchQueue, Limits, Taken, Ticket
from services.kit.errors import ResourceExhausted

LIMITS = Limits(max_batch=3, instances=2, max_items=12, max_bytes=100, patience=10.0)


@dataclass(frozen=True)
class Spec:
    bucket: str
    size: int
    lifetime: float


SPECS = st.builds(
    Spec,
    bucket=st.sampled_from("abc"),
    size=st.integers(1, 20),
    lifetime=st.one_of(st.just(inf), st.floats(0.1, 30.0)),
)


def due(ticket: Ticket[int]) -> float:
    return min(ticket.deadline, ticket.arrived + LIMITS.patience)


class Scheduling(RuleBasedStateMachine):
    """Arrivals, cancellations, passing time and free instances in any order, against a plain list of what waits."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: BatchQueue[int] = BatchQueue(LIMITS)
        self.now = 0.0
        self.waiting: list[Ticket[int]] = []
        self.made = 0

    @rule(specs=st.lists(SPECS, min_size=1, max_size=8))
    def arrive(self, specs: list[Spec]) -> None:
        tickets = [
            Ticket(self.made + i, spec.bucket, spec.size, self.now, self.now + spec.lifetime)
            for i, spec in enumerate(specs)
        ]
        self.made += len(tickets)
        items = len(self.waiting) + len(tickets)
        size = sum(ticket.size for ticket in self.waiting + tickets)
        if items <= LIMITS.max_items and size <= LIMITS.max_bytes:
            self.queue.offer(tickets)
            self.waiting += tickets
        else:
            with pytest.raises(ResourceExhausted) as refusal:
                self.queue.offer(tickets)
            assert refusal.value.reason == "OVERLOADED"

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        gone = data.draw(st.lists(st.sampled_from(self.waiting), max_size=6, unique_by=id))
        assert self.queue.withdraw(gone) == len(gone)
        assert self.queue.withdraw(gone) == 0
        self.waiting = [ticket for ticket in self.waiting if ticket not in gone]

    @rule(seconds=st.floats(0.0, 20.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def instance_is_free(self) -> None:
        taken = self.queue.take(self.now)
        late = {ticket for ticket in self.waiting if ticket.deadline <= self.now}
        assert set(taken.expired) == late, "exactly what expired is reported, once"
        self.waiting = [ticket for ticket in self.waiting if ticket not in late]
        self.check_batch(list(taken.batch))
        self.waiting = [ticket for ticket in self.waiting if ticket not in taken.batch]

    def check_batch(self, batch: list[Ticket[int]]) -> None:
        assert bool(batch) == bool(self.waiting), "an instance idles only when nothing waits"
        assert len(set(batch)) == len(batch) <= LIMITS.max_batch
        assert set(batch) <= set(self.waiting), "cancelled and expired items never run"
        if not batch:
            return
        (bucket,) = {ticket.bucket for ticket in batch}
        peers = sorted((ticket for ticket in self.waiting if ticket.bucket == bucket), key=due)
        assert [due(ticket) for ticket in batch] == [due(ticket) for ticket in peers[: len(batch)]]
        assert len(batch) == min(LIMITS.max_batch, len(peers)), "a batch leaves nobody behind who fits"
        assert due(batch[0]) == min(due(ticket) for ticket in self.waiting), "no bucket blocks another"

    @invariant()
    def counts(self) -> None:
        assert len(self.queue) == len(self.waiting)


TestScheduling = Scheduling.TestCase


def waiting(*tickets: Ticket[int], limits: Limits = LIMITS) -> BatchQueue[int]:
    queue: BatchQueue[int] = BatchQueue(limits)
    queue.offer(tickets)
    return queue


def payloads(taken: Taken[int]) -> list[int]:
    return [ticket.payload for ticket in taken.batch]


def test_nothing_waits_forever_behind_hurried_items() -> None:
    queue = waiting(Ticket(0, "a", 1, arrived=0.0))
    served = -1
    for second in range(30):
        queue.offer([Ticket(100 + second, "b", 1, arrived=float(second), deadline=second + 5.0)])
        if 0 in payloads(queue.take(float(second))):
            served = second
            break
    assert 0 <= served <= LIMITS.patience


def test_ties_are_served_in_order_of_arrival() -> None:
    queue = waiting(*(Ticket(i, "a", 1, arrived=0.0, deadline=9.0) for i in range(5)))
    assert payloads(queue.take(0.0)) == [0, 1, 2]
    assert payloads(queue.take(0.0)) == [3, 4]


def test_a_refused_request_leaves_nothing_behind() -> None:
    queue = waiting(Ticket(0, "a", 95, arrived=0.0))
    with pytest.raises(ResourceExhausted):
        queue.offer([Ticket(1, "a", 1, arrived=0.0), Ticket(2, "a", 9, arrived=0.0)])
    assert len(queue) == 1
    queue.offer([Ticket(3, "a", 5, arrived=0.0)])


@given(st.floats(0.001, 10.0))
def test_the_hint_follows_the_measured_pace(seconds: float) -> None:
    queue = waiting(*(Ticket(i, "a", 1, arrived=0.0) for i in range(12)))
    for _ in range(30):
        queue.finished(items=3, seconds=seconds)
    with pytest.raises(ResourceExhausted) as refusal:
        queue.offer([Ticket(99, "a", 1, arrived=0.0) for _ in range(6)])
    pace = seconds / 3 / LIMITS.instances
    assert refusal.value.retry_after == pytest.approx(min(max(6 * pace, 0.05), 30.0))


def test_what_can_never_fit_gets_no_hint() -> None:
    queue: BatchQueue[int] = BatchQueue(LIMITS)
    with pytest.raises(ResourceExhausted) as refusal:
        queue.offer([Ticket(i, "a", 1, arrived=0.0) for i in range(13)])
    assert refusal.value.retry_after is None


def test_mass_cancellation_does_not_pile_up() -> None:
    limits = Limits(max_batch=1, max_items=10, max_bytes=1000)
    queue: BatchQueue[int] = BatchQueue(limits)
    for round_ in range(1000):
        tickets = [Ticket(i, f"shape-{round_}", 1, arrived=0.0, deadline=1e9) for i in range(10)]
        queue.offer(tickets)
        queue.withdraw(tickets)
    held = sum(len(heap) for heap in queue._buckets.values()) + len(queue._deadlines)
    assert held < 200
