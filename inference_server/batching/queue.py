"""The waiting items of one model and what happens to them: offered, taken, ended, withdrawn."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from inference_server.batching.costs import CostModel
from inference_server.batching.tickets import Ended, Limits, Taken, Ticket
from services.kit.errors import DeadlineExceeded, ResourceExhausted

P = TypeVar("P")


class BatchQueue(Generic[P]):
    """The waiting items of one model. Not thread-safe: the engine holds a lock around every call."""

    def __init__(self, limits: Limits, costs: CostModel | None = None) -> None:
        self._limits = limits
        self.costs = CostModel(limits.max_batch) if costs is None else costs
        self._waiting: dict[int, Ticket[P]] = {}
        self._running: dict[int, tuple[Hashable, int, float]] = {}
        self.waiting_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, tickets: Sequence[Ticket[P]], now: float) -> Sequence[Ended[P]]:
        """Let all tickets of one request wait, or none (ResourceExhausted, OVERLOADED); return what they displaced."""
        size = sum(ticket.size for ticket in tickets)
        limits = self._limits
        cause = "queue_full" if len(self._waiting) + len(tickets) > limits.max_items else ""
        if cause or self.waiting_bytes + size > limits.max_bytes:
            raise ResourceExhausted(
                "the queue has no room",
                reason="OVERLOADED",
                metadata={"cause": cause or "queue_bytes"},
                retry_after=1.0,
            )
        for ticket in tickets:
            self._waiting[id(ticket)] = ticket
        self.waiting_bytes += size
        return ()

    def take(self, instance: int, now: float) -> Taken[P]:
        """Return the next batch for `instance`, which is free at `now`; empty when nothing waits."""
        late = [ticket for ticket in self._waiting.values() if ticket.deadline <= now]
        self.withdraw(late)
        error = DeadlineExceeded("the deadline passed while the work waited for a batch")
        ended = [Ended(ticket, error) for ticket in late]
        if not self._waiting:
            return Taken((), ended)
        first = min(self._waiting.values(), key=lambda ticket: (-ticket.priority, ticket.deadline))
        peers = [ticket for ticket in self._waiting.values() if ticket.bucket == first.bucket]
        batch = sorted(peers, key=lambda ticket: (-ticket.priority, ticket.deadline))[: self._limits.max_batch]
        self.withdraw(batch)
        self._running[instance] = (first.bucket, len(batch), now)
        return Taken(batch, ended)

    def finished(self, instance: int, now: float, *, ok: bool = True) -> None:
        """Tell that the batch which `instance` took is over; the cost model learns from it when it went well."""
        bucket, items, begun = self._running.pop(instance)
        if ok:
            self.costs.observe(bucket, items, now - begun)

    def withdraw(self, tickets: Iterable[Ticket[P]]) -> int:
        """Remove the tickets that still wait and return how many did."""
        gone = [ticket for ticket in tickets if self._waiting.pop(id(ticket), None) is not None]
        self.waiting_bytes -= sum(ticket.size for ticket in gone)
        return len(gone)

    def drop_all(self) -> list[Ticket[P]]:
        """Remove and return everything that waits."""
        dropped = list(self._waiting.values())
        self.withdraw(dropped)
        return dropped
