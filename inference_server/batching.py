"""The scheduling policy of one model: items and a clock's readings in, batches out. No I/O, no threads, no asyncio.

- **Late binding.** A batch is formed when an instance is free and asks for it, from whatever waits then; nothing waits
  for company while an instance idles.
- **Earliest due first.** An item is due at its deadline, but at most `patience` seconds after its arrival, so that
  nothing waits forever behind a stream of hurried items. The item that is due first decides which shape bucket is
  served, and the batch is filled with what is due next in that bucket; no bucket waits behind the head of another.
- **Bounded.** What does not fit, in items or in bytes, is refused as a whole, with a hint when to come back.
- **Only wanted work.** Withdrawn items and items whose deadline passed never get into a batch.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Generic, TypeVar

from services.kit.errors import ResourceExhausted

P = TypeVar("P")

_SHORTEST_HINT, _LONGEST_HINT, _FIRST_HINT = 0.05, 30.0, 1.0
_NEWEST_WEIGHT = 0.2
_STALE_ENTRIES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Ticket(Generic[P]):
    """One waiting item: what it is, its shape key, its size in bytes, and when it came and must be done.

    Times are in seconds of one monotonic clock; an item without a deadline has an infinite one.
    """

    payload: P
    bucket: Hashable
    size: int
    arrived: float
    deadline: float = inf


@dataclass(frozen=True, slots=True)
class Limits:
    """What one model may take: items a batch, batches at a time, items and bytes in the queue.

    `patience` is after how many seconds an item is due at the latest.
    """

    max_batch: int
    instances: int = 1
    max_items: int = 4096
    max_bytes: int = 512 * 1024 * 1024
    patience: float = 60.0


@dataclass(frozen=True, slots=True)
class Taken(Generic[P]):
    """What a free instance is to run, of one bucket and in order of due time, and what expired meanwhile."""

    batch: Sequence[Ticket[P]]
    expired: Sequence[Ticket[P]]


class BatchQueue(Generic[P]):
    """The waiting items of one model. Not thread-safe: the engine holds a lock around every call."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: set[Ticket[P]] = set()
        self._bytes = 0
        self._buckets: dict[Hashable, list[tuple[float, int, Ticket[P]]]] = {}
        self._deadlines: list[tuple[float, int, Ticket[P]]] = []
        self._entries = 0  # how many were made since the heaps were last rebuilt; at least as many as they hold
        self._order = count()
        self._seconds_per_item: float | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, tickets: Sequence[Ticket[P]]) -> None:
        """Let all tickets wait, or none: raises ResourceExhausted (OVERLOADED) when they do not fit."""
        size = sum(ticket.size for ticket in tickets)
        limits = self._limits
        if len(self._waiting) + len(tickets) > limits.max_items or self._bytes + size > limits.max_bytes:
            raise self._refusal(len(tickets), size)
        self._bytes += size
        for ticket in tickets:
            self._waiting.add(ticket)
            self._enter(ticket, next(self._order))

    def withdraw(self, tickets: Iterable[Ticket[P]]) -> int:
        """Remove the tickets that still wait and return how many did."""
        gone = [ticket for ticket in tickets if ticket in self._waiting]
        for ticket in gone:
            self._leave(ticket)
        self._compact()
        return len(gone)

    def drop_all(self) -> list[Ticket[P]]:
        """Remove and return everything that waits."""
        dropped = list(self._waiting)
        self.withdraw(dropped)
        return dropped

    def take(self, now: float) -> Taken[P]:
        """Return the next batch for an instance that is free at `now`; empty when nothing waits."""
        expired = self._expire(now)
        alive = [(bucket, heap) for bucket, heap in list(self._buckets.items()) if self._head_waits(bucket, heap)]
        first = min(alive, key=lambda pair: pair[1][0][:2], default=None)
        batch: list[Ticket[P]] = []
        if first is not None:
            bucket, heap = first
            while len(batch) < self._limits.max_batch and self._head_waits(bucket, heap):
                ticket = heappop(heap)[2]
                self._leave(ticket)
                batch.append(ticket)
        self._compact()
        return Taken(batch, expired)

    def finished(self, items: int, seconds: float) -> None:
        """Tell how long a batch took on its instance, for the hints."""
        sample = seconds / items / self._limits.instances
        known = self._seconds_per_item
        self._seconds_per_item = sample if known is None else known + _NEWEST_WEIGHT * (sample - known)

    def _enter(self, ticket: Ticket[P], order: int) -> None:
        due = min(ticket.deadline, ticket.arrived + self._limits.patience)
        heappush(self._buckets.setdefault(ticket.bucket, []), (due, order, ticket))
        self._entries += 1
        if ticket.deadline < inf:
            heappush(self._deadlines, (ticket.deadline, order, ticket))

    def _leave(self, ticket: Ticket[P]) -> None:
        self._waiting.remove(ticket)
        self._bytes -= ticket.size

    def _expire(self, now: float) -> list[Ticket[P]]:
        expired: list[Ticket[P]] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            ticket = heappop(self._deadlines)[2]
            if ticket in self._waiting:
                self._leave(ticket)
                expired.append(ticket)
        return expired

    def _head_waits(self, bucket: Hashable, heap: list[tuple[float, int, Ticket[P]]]) -> bool:
        """Drop entries of tickets that left from the head of a bucket; whether anything is left there."""
        while heap and heap[0][2] not in self._waiting:
            heappop(heap)
        if not heap:
            self._buckets.pop(bucket, None)
        return bool(heap)

    def _compact(self) -> None:
        """Rebuild the heaps when most of their entries are of tickets that left (mass cancellation)."""
        if self._entries <= 2 * len(self._waiting) + _STALE_ENTRIES:
            return
        for bucket, heap in list(self._buckets.items()):
            heap[:] = [entry for entry in heap if entry[2] in self._waiting]
            heapify(heap)
            if not heap:
                del self._buckets[bucket]
        self._deadlines = [entry for entry in self._deadlines if entry[2] in self._waiting]
        heapify(self._deadlines)
        self._entries = len(self._waiting)

    def _refusal(self, items: int, size: int) -> ResourceExhausted:
        limits = self._limits
        fits_when_empty = items <= limits.max_items and size <= limits.max_bytes
        per_item = _FIRST_HINT / max(items, 1) if self._seconds_per_item is None else self._seconds_per_item
        excess = max(len(self._waiting) + items - limits.max_items, 1)
        hint = min(max(excess * per_item, _SHORTEST_HINT), _LONGEST_HINT)
        return ResourceExhausted(
            f"the queue holds {len(self._waiting)} items and has no room for {items} more",
            reason="OVERLOADED",
            metadata={
                "waiting_items": str(len(self._waiting)),
                "max_items": str(limits.max_items),
                "max_bytes": str(limits.max_bytes),
            },
            retry_after=hint if fits_when_empty else None,
        )
