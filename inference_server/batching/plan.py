"""A draft that was good, kept: the batches that instances take one after the other, and what may still join them."""

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from heapq import heapify, heapreplace
from math import inf

from inference_server.batching.lanes import AnyTicket, Lane

_MOST_LATER = 32  # batches that one which grows may push back


class Batch:
    """A planned batch of one shape: how many from the head of which lanes, the leader's first.

    `end` is when it ends, `least` the earliest deadline in it, `size` how many items it holds.
    """

    __slots__ = ("end", "least", "number", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[tuple[Lane, int]] = []
        self.size = 0
        self.end = 0.0
        self.least = inf
        self.number = 0


class Plan:
    """Batches in order, for instances that are free at `free` when all of them are over."""

    __slots__ = ("_batches", "_free", "_last", "_planned", "_tails")

    def __init__(self, batches: Iterable[Batch], free: list[float]) -> None:
        self._batches = deque(batches)
        self._free = free
        heapify(free)
        self._tails: dict[Hashable, Batch] = {}  # the last batch of each shape
        self._last: dict[Lane, tuple[Batch, int]] = {}  # the last piece of each lane
        self._planned: dict[Lane, int] = {}
        for number, batch in enumerate(self._batches):
            batch.number = number
            self._tails[batch.pieces[0][0].shape.bucket] = batch
            for lane, count in batch.pieces:
                self._last[lane] = batch, count
                self._planned[lane] = self._planned.get(lane, 0) + count

    def __len__(self) -> int:
        return len(self._batches)

    def pop(self) -> Batch:
        """Take the next batch."""
        batch = self._batches.popleft()
        for lane, count in batch.pieces:
            self._planned[lane] -= count
            if self._last[lane][0] is batch:
                del self._last[lane]
        bucket = batch.pieces[0][0].shape.bucket
        if self._tails[bucket] is batch:
            del self._tails[bucket]
        return batch

    def join(self, tickets: Sequence[AnyTicket], margin: float) -> bool:
        """Let tickets that are in their lane already run at the end of the plan, or in its last batch of their shape.

        False, and nothing changed, when that would make somebody late, or would move others of the lane far back.
        """
        last = tickets[-1]
        lane: Lane = last.lane
        table, best = lane.shape.curve.table, lane.shape.curve.best
        count = len(tickets)
        final, tail_count = self._last.get(lane, (None, 0))
        if last.deadline == inf:
            return True  # it runs when the plan is over
        if count > best or lane.place(tickets[0]) < self._planned.get(lane, 0) - tail_count:
            return False
        batch = self._tails.get(lane.shape.bucket)
        if batch is None or batch.size + count > best or (final is not None and final.number > batch.number):
            return self._append(lane, count, last.deadline - margin, last.deadline)
        more = table[batch.size + count] - table[batch.size]
        if batch.end + more > min(batch.least, last.deadline - margin) or not self._delay(batch, more):
            return False
        batch.end += more
        self._note(batch, lane, count, last.deadline)
        return True

    def _append(self, lane: Lane, count: int, end: float, deadline: float) -> bool:
        batch = Batch()
        batch.end = self._free[0] + lane.shape.curve.table[count]
        if batch.end > end:
            return False
        heapreplace(self._free, batch.end)
        batch.number = self._batches[-1].number + 1 if self._batches else 0
        self._batches.append(batch)
        self._tails[lane.shape.bucket] = batch
        self._note(batch, lane, count, deadline)
        return True

    def _delay(self, batch: Batch, seconds: float) -> bool:
        """Let everything after a batch end `seconds` later; False when something would be late, or is too far back."""
        if seconds <= 0.0:
            return True
        later: list[Batch] = []
        for other in reversed(self._batches):
            if other is batch:
                break
            if len(later) == _MOST_LATER or other.end + seconds > other.least:
                return False
            later.append(other)
        for other in later:
            other.end += seconds
        self._free = [free + seconds for free in self._free]
        return True

    def _note(self, batch: Batch, lane: Lane, count: int, deadline: float) -> None:
        for index, (other, held) in enumerate(batch.pieces):
            if other is lane:
                batch.pieces[index] = lane, held + count
                self._last[lane] = batch, held + count
                break
        else:
            batch.pieces.append((lane, count))
            self._last[lane] = batch, count
        self._planned[lane] = self._planned.get(lane, 0) + count
        batch.size += count
        batch.least = min(batch.least, deadline)
