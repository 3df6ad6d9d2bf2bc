"""When a batch may run on the loop itself: only for models that have shown to be faster than a change of threads.

Handing a batch to a thread and its results back costs two wake-ups and two changes of the interpreter's holder. A model
that takes microseconds spends most of its latency there. Everything else, and everything unknown, runs on threads.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from inference_server.batching import Ticket

# A batch this long at most, in seconds: no longer than what handling one frame or call takes the loop anyway.
_LONGEST = 100e-6
# So many runs of a shape must have been fast in a row before one is trusted.
_TRUSTED_AFTER = 8
# A run on the loop that took longer than this was a mistake, and for so long (doubling each time) none is tried again.
_MISTAKE = 1e-3
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 3600.0
_MOST_SHAPES = 1024


class Inline:
    """What is known of a model's short runs, by shape. Loop thread only."""

    def __init__(self, monotonic: Callable[[], float], *, allowed: bool) -> None:
        self._monotonic = monotonic
        self._allowed = allowed
        self._fast: dict[Hashable, tuple[int, float]] = {}  # shape: runs in a row, most seconds an item
        self._not_before = 0.0
        self._pause = _FIRST_PAUSE

    @property
    def shapes(self) -> int:
        """How many shapes something is known of."""
        return len(self._fast)

    def learn(self, bucket: Hashable, size: int, seconds: float) -> None:
        """Note how long a batch took, wherever it ran."""
        if not self._allowed:
            return
        if seconds > _LONGEST:
            self._fast.pop(bucket, None)
            return
        if len(self._fast) >= _MOST_SHAPES and bucket not in self._fast:
            self._fast.clear()
        runs, slowest = self._fast.get(bucket, (0, 0.0))
        self._fast[bucket] = (runs + 1, max(slowest, seconds / size) if runs < _TRUSTED_AFTER else slowest)

    def trusts(self, tickets: Sequence[Ticket[Any]]) -> bool:
        """Whether all of these together may run on the loop: of one shape, and surely short."""
        known = self._fast.get(tickets[0].bucket)
        if known is None or known[0] < _TRUSTED_AFTER or known[1] * len(tickets) > _LONGEST:
            return False
        first = tickets[0].bucket
        return self._monotonic() >= self._not_before and all(ticket.bucket == first for ticket in tickets)

    def ran(self, seconds: float) -> None:
        """Note how long a run on the loop took; one that was much too long ends them for a while."""
        if seconds > _MISTAKE:
            self._fast.clear()
            self._not_before = self._monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
