"""A model's queue on simulated time: arrivals, cancellations and instances with true costs, without any clock."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TypeVar

from inference_server.batching import BatchQueue, CostModel, Ended, Limits, Priority, Ticket
from services.kit.errors import CandelaError, ResourceExhausted

W = TypeVar("W")
TrueCost = Callable[[Hashable, int], float]


@dataclass
class Ran:
    """A batch as it was: when it began and ended, and what was in it."""

    begun: float
    ended: float
    tickets: Sequence[Ticket[int]]


@dataclass
class Log:
    """What became of every ticket. A ticket is in exactly one of the collections, or still in the queue."""

    batches: list[Ran] = field(default_factory=list)
    finished: dict[Ticket[int], float] = field(default_factory=dict)
    begun: dict[Ticket[int], float] = field(default_factory=dict)
    refused: dict[Ticket[int], CandelaError] = field(default_factory=dict)
    ended: dict[Ticket[int], CandelaError] = field(default_factory=dict)
    withdrawn: set[Ticket[int]] = field(default_factory=set)
    endings: int = 0

    def done(self, begin: float = 0.0, end: float = inf) -> list[Ticket[int]]:
        """What was done in time, by when it was done."""
        return [one for one, at in self.finished.items() if begin <= at < end and at <= one.deadline]

    def wasted(self) -> float:
        """The part of the items that ran and were late."""
        return sum(at > one.deadline for one, at in self.finished.items()) / max(len(self.finished), 1)


class Simulation:
    """One model on simulated time."""

    def __init__(self, limits: Limits, true_cost: TrueCost, costs: CostModel | None = None) -> None:
        self.limits = limits
        self.queue: BatchQueue[int] = BatchQueue(limits, costs)
        self.true_cost = true_cost
        self.now = 0.0
        self.log = Log()
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._busy: set[int] = set()
        self.on_done: Callable[[Ticket[int]], None] = lambda ticket: None

    def at(self, when: float, what: Callable[[], object]) -> None:
        heappush(self._events, (max(when, self.now), next(self._order), what))

    def arrive(self, when: float, tickets: Sequence[Ticket[int]]) -> None:
        self.at(when, partial(self.offer, tickets))

    def cancel(self, when: float, tickets: Sequence[Ticket[int]]) -> None:
        self.at(when, partial(self.withdraw, tickets))

    def offer(self, tickets: Sequence[Ticket[int]]) -> bool:
        try:
            gone = self.queue.offer(tickets, self.now)
        except CandelaError as error:
            self._put(self.log.refused, tickets, error)
            return False
        self._end(gone)
        return True

    def withdraw(self, tickets: Sequence[Ticket[int]]) -> None:
        waiting = [one for one in tickets if one.lane is not None]
        assert self.queue.withdraw(tickets) == len(waiting)
        for one in waiting:
            assert one not in self.log.withdrawn
            self.log.withdrawn.add(one)

    def run(self, until: float = inf) -> None:
        """Go on until nothing happens any more, or until a time."""
        while self._events and self._events[0][0] <= until:
            self.now = self._events[0][0]
            while self._events and self._events[0][0] == self.now:
                heappop(self._events)[2]()
            self._dispatch()
        if until < inf:
            self.now = until

    def _dispatch(self) -> None:
        for instance in range(self.limits.instances):
            if instance in self._busy:
                continue
            taken = self.queue.take(instance, self.now)
            self._end(taken.ended)
            if not taken.batch:
                assert not self.queue, "an instance idles only when nothing waits"
                continue
            self._busy.add(instance)
            end = self.now + self.true_cost(taken.batch[0].bucket, len(taken.batch))
            self.log.batches.append(Ran(self.now, end, taken.batch))
            self._put(self.log.begun, taken.batch, self.now)
            self.at(end, partial(self._finish, instance, taken.batch))

    def _finish(self, instance: int, batch: Sequence[Ticket[int]]) -> None:
        self._busy.discard(instance)
        self.queue.finished(instance, self.now)
        for ticket in batch:
            self.log.finished[ticket] = self.now
            self.on_done(ticket)

    def _end(self, gone: Sequence[Ended[int]]) -> None:
        for one in gone:
            self._put(self.log.ended, [one.ticket], one.error)

    def _put(self, where: dict[Ticket[int], W], tickets: Sequence[Ticket[int]], what: W) -> None:
        for one in tickets:
            others = (self.log.begun, self.log.refused, self.log.ended)
            assert not any(one in other for other in others), "a ticket ends once"
            assert one not in self.log.withdrawn
            where[one] = what


def primed(max_batch: int, true_cost: TrueCost, buckets: Sequence[Hashable], **options: float) -> CostModel:
    """A cost model that knows every size of every bucket."""
    costs = CostModel(max_batch, **options)
    for bucket in buckets:
        for size in range(1, max_batch + 1):
            for _ in range(3):
                costs.observe(bucket, size, true_cost(bucket, size))
    return costs


def request(
    now: float, lifetime: float = inf, *, items: int = 1, bucket: Hashable = "a", tenant: str = "", size: int = 1,
    priority: Priority = Priority.NORMAL,
) -> list[Ticket[int]]:  # fmt: skip
    return [Ticket(0, bucket, size, now, now + lifetime, priority, tenant) for _ in range(items)]


def cause(error: CandelaError) -> str:
    return error.metadata.get("cause", "") if isinstance(error, ResourceExhausted) else type(error).__name__
