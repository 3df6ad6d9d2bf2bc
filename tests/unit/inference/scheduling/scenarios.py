"""Random lives of a queue: requests, cancellations, instances and costs; and what must hold in all of them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import inf

from hypothesis import strategies as st

from inference_server.batching import Limits, Priority, Ticket
from services.kit.errors import DeadlineExceeded
from tests.unit.inference.scheduling.simulator import Simulation, cause, primed

EPSILON = 1e-9


@dataclass(frozen=True)
class Arrival:
    """A request `after` ticks after the last one; `lifetime` 0 is for none, `cancelled` ticks after it 0 for never."""

    after: int
    items: int
    bucket: int
    spread: bool
    tenant: int
    priority: int
    lifetime: int
    cancelled: int
    size: int


@dataclass(frozen=True)
class Scenario:
    """A model with affine costs in ticks by bucket, and what comes: of how many tenants, shapes and priorities."""

    max_batch: int
    instances: int
    max_items: int
    max_bytes: int
    costs: Sequence[tuple[int, int]]
    arrivals: Sequence[Arrival]
    tenants: int = 3
    shapes: int = 3
    priorities: int = 3


ARRIVALS = st.builds(
    Arrival,
    after=st.integers(0, 6),
    items=st.integers(1, 4),
    bucket=st.integers(0, 2),
    spread=st.booleans(),
    tenant=st.integers(0, 2),
    priority=st.integers(1, 3),
    lifetime=st.sampled_from([0, 3, 8, 12, 20, 30, 45, 70]),
    cancelled=st.sampled_from([0, 0, 0, 1, 5, 15]),
    size=st.integers(1, 3),
)
SCENARIOS = st.builds(
    Scenario,
    max_batch=st.integers(1, 6),
    instances=st.integers(1, 3),
    max_items=st.integers(4, 40),
    max_bytes=st.integers(6, 100),
    costs=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), min_size=3, max_size=3),
    arrivals=st.lists(ARRIVALS, min_size=1, max_size=30),
    tenants=st.integers(1, 3),
    shapes=st.integers(1, 3),
    priorities=st.integers(1, 3),
)


class Watched(Simulation):
    """A simulation that looks at every batch and at the bounds while it goes on."""

    def __init__(self, scenario: Scenario, noise: Sequence[float] = ()) -> None:
        self._noise = list(noise)
        self._costs = scenario.costs
        self._cancels = any(one.cancelled for one in scenario.arrivals)
        limits = Limits(
            scenario.max_batch, scenario.instances, scenario.max_items, scenario.max_bytes,
            {"tenant-1": 2.0}, probe_after=inf,
        )  # fmt: skip
        known = primed(scenario.max_batch, self.exact, range(3), margin=0.0, explore=0.0)
        super().__init__(limits, self.noisy, known)
        self.waiting: dict[Ticket[int], None] = {}
        self.admitted: list[tuple[float, Priority]] = []
        self.all: list[Ticket[int]] = []
        when = 0
        for one in scenario.arrivals:
            when += one.after
            self._plan_arrival(float(when), one, scenario)

    def exact(self, bucket: Hashable, size: int) -> float:
        assert isinstance(bucket, int)
        base, each = self._costs[bucket]
        return 0.5 + base + each * size

    def noisy(self, bucket: Hashable, size: int) -> float:
        factor = 1.0
        if self._noise:
            factor = self._noise[len(self.log.batches) % len(self._noise)]
        return factor * self.exact(bucket, size)

    def _plan_arrival(self, when: float, one: Arrival, scenario: Scenario) -> None:
        deadline = when + one.lifetime if one.lifetime else inf
        priority, tenant = Priority(1 + one.priority % scenario.priorities), f"tenant-{one.tenant % scenario.tenants}"
        shapes = [(one.bucket + index * one.spread) % scenario.shapes for index in range(one.items)]
        tickets = [Ticket(0, shape, one.size, when, deadline, priority, tenant) for shape in shapes]
        self.all += tickets
        self.arrive(when, tickets)
        if one.cancelled:
            self.cancel(when + one.cancelled, tickets[:2])

    def offer(self, tickets: Sequence[Ticket[int]]) -> bool:
        ended = len(self.log.ended)
        taken = super().offer(tickets)
        if taken:
            self.waiting.update(dict.fromkeys(tickets))
        gone = list(self.log.ended)[ended:]
        for one in gone:
            assert taken, "a refused request displaces nobody"
            assert one.priority < tickets[0].priority, "only lower priorities are displaced"
            assert cause(self.log.ended[one]) == "displaced"
            del self.waiting[one]
        assert len(self.queue) <= self.limits.max_items
        assert self.queue.waiting_bytes <= self.limits.max_bytes
        self._count()
        return taken

    def withdraw(self, tickets: Sequence[Ticket[int]]) -> None:
        super().withdraw(tickets)
        for one in tickets:
            self.waiting.pop(one, None)
        self._count()

    def _dispatch(self) -> None:
        batches, ended = len(self.log.batches), len(self.log.ended)
        super()._dispatch()
        for one in list(self.log.ended)[ended:]:
            del self.waiting[one]
        for ran in self.log.batches[batches:]:
            self._look(ran.tickets)
        self._count()

    def _look(self, batch: Sequence[Ticket[int]]) -> None:
        assert len(set(batch)) == len(batch) <= self.limits.max_batch
        assert len({one.bucket for one in batch}) == 1, "a batch holds one shape"
        assert all(one in self.waiting for one in batch), "cancelled and ended items never run"
        assert all(one.deadline > self.now for one in batch), "expired items never run"
        if not self._cancels:  # places of a plan whose leaders were cancelled may go to lower priorities alone
            assert max(one.priority for one in batch) == max(one.priority for one in self.waiting), "strict priority"
        last = {_lane(one): one for one in batch}
        for one in batch:
            del self.waiting[one]
        for one in self.waiting:
            if (ran := last.get(_lane(one))) is not None:
                assert (ran.deadline, ran.arrived) <= (one.deadline, one.arrived), "earliest deadline first"

    def _count(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert self.queue.waiting_bytes == sum(one.size for one in self.waiting)

    def check_everything_ended(self) -> None:
        log = self.log
        assert not self.waiting
        for one in self.all:
            ends = (one in log.finished, one in log.refused, one in log.ended, one in log.withdrawn)
            assert sum(ends) == 1, "every ticket ends exactly once"

    def check_promises(self) -> None:
        """With exact costs: who is let in is in time, or made way for a higher priority."""
        for one, at in self.log.finished.items():
            assert at <= one.deadline + EPSILON, "nothing runs late"
        for error in self.log.ended.values():
            assert cause(error) == "displaced", "only a higher priority takes an admitted item's time"
        for one, refusal in self.log.refused.items():
            assert cause(refusal) in {"too_late", "queue_full", "queue_bytes", "share"} or (
                isinstance(refusal, DeadlineExceeded) and one.deadline <= one.arrived
            )


def _lane(ticket: Ticket[int]) -> tuple[Priority, str, Hashable]:
    return ticket.priority, ticket.tenant, ticket.bucket
