"""In which order and company waiting tickets run: drafts of the next batches on simulated instances.

Strict priority; inside a priority the tenant with the least virtual time leads; of its shapes the one that is due first
is served, each place of the batch going to the tenant of that shape whose turn it is; places that cost next to nothing
go to lower priorities. Nothing is changed by a draft: it keeps its own positions and virtual times beside the store's.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace
from math import inf

from inference_server.batching.lanes import AnyTicket, Flow, Lane, Level, Shape, Store
from inference_server.batching.plan import Batch, Plan
from inference_server.batching.tickets import Priority

_NEXT_TO_NOTHING = 1.02  # what a batch may take more when lower priorities fill it
_MOST_STEPS, _SHALLOW_STEPS = 512, 64  # a draft that is not done by then gives up
_Heap = list[tuple[float, int, Lane]]


class TooLate(Exception):
    """A ticket that may not be late would end at `end`, too late; infinite when nobody knows."""

    def __init__(self, ticket: AnyTicket | None, end: float) -> None:
        super().__init__()
        self.ticket = ticket
        self.end = end


class Draft:
    """A sequence of batches, in the order in which instances that get free take them.

    What would end after its deadline is dropped from it when its priority is below `kept`; otherwise the draft fails.
    `strict` are tickets for which a margin is kept.
    """

    def __init__(self, store: Store, kept: int, strict: frozenset[AnyTicket] = frozenset()) -> None:
        self._store = store
        self._kept = kept
        self._strict = strict
        self._careful = {ticket.lane for ticket in strict}
        self.batches: list[Batch] = []
        self.dropped: list[AnyTicket] = []
        self._finite = store.finite  # tickets with a deadline that no batch holds yet
        self._tags: dict[Flow, float] = {}
        self._at: dict[Lane, int] = {}
        self._left: dict[Shape, int] = {}
        self._heaps: dict[Shape, _Heap] = {}
        self.steps = 0  # how much work the draft was, in batches

    def all(self, free: list[float], *, shallow: bool = False) -> Plan:
        """Draft until nothing with a deadline is left, for instances free at `free`; raises TooLate.

        `shallow` leaves out what may be dropped: whether it is late is then found when its turn comes.
        """
        heapify(free)
        most = _SHALLOW_STEPS if shallow else _MOST_STEPS
        for level in self._store.levels.values():
            if shallow and level.priority < self._kept:
                break
            order = self._order(level)
            while order and self._finite:
                self.steps += 1
                if self.steps > most:
                    raise TooLate(None, inf)
                if (lane := self._leading(order)) is not None:
                    heapreplace(free, self._fill(lane, free[0], 0))
        return Plan(self.batches, free)

    def next(self, now: float, *, explore: bool = False) -> bool:
        """Draft one batch for an instance that is free at `now`, dropping what would be late; False without any."""
        for level in self._store.levels.values():
            order = self._order(level)
            while order:
                if (lane := self._leading(order)) is None:
                    continue
                curve = lane.shape.curve
                size = curve.explore(self._remaining(lane.shape)) if explore else 0
                if self._fill(lane, now, size) > now or self.batches:
                    return True
        return False

    def _order(self, level: Level) -> list[tuple[float, int, Flow]]:
        order = [(flow.tag, index, flow) for index, flow in enumerate(level.active.values())]
        if len(order) > 1:
            heapify(order)
            self.steps += len(order) >> 4
        return order

    def _leading(self, order: list[tuple[float, int, Flow]]) -> Lane | None:
        """Return the lane that goes next; None when the head of the order was settled and has to be looked at again."""
        tag, index, flow = order[0]
        known = self._tags.get(flow, tag)
        if known != tag:
            heapreplace(order, (known, index, flow))
            return None
        at = self._at
        best: Lane | None = None
        least = inf
        self.steps += len(flow.lanes) >> 3
        for lane in flow.lanes.values():
            place = at.get(lane, 0)
            if place < len(lane.tickets) and (best is None or lane.due(place) < least):
                best, least = lane, lane.due(place)
        if best is None:
            heappop(order)
        return best

    def _remaining(self, shape: Shape) -> int:
        return self._left.get(shape, shape.count)

    def _fill(self, lane: Lane, start: float, size: int) -> float:
        """Make a batch that starts at `start`, led by `lane`, and return when it ends; `start` when it stayed empty."""
        shape = lane.shape
        curve = shape.curve
        waiting = self._remaining(shape)
        size = min(size or curve.first[min(waiting, curve.largest)], waiting)
        end = start + curve.table[size]
        batch = Batch()
        taken = self._places(shape, size, end, batch)
        if taken == waiting and 0 < taken < curve.best:
            room = bisect_right(curve.table, _NEXT_TO_NOTHING * curve.table[taken], taken, curve.best + 1) - 1 - taken
            if room > 0:
                end = self._ride(lane, start, taken, room, batch)
        if not taken:
            return start
        batch.end = end
        self.batches.append(batch)
        return end

    def _ride(self, lane: Lane, start: float, taken: int, room: int, batch: Batch) -> float:
        """Fill free places with lower priorities when nobody in the batch is late by it; return when it ends."""
        table = lane.shape.curve.table
        bucket, priority = lane.shape.bucket, lane.flow.level.priority
        for level in self._store.levels.values():
            shape = level.shapes.get(bucket) if level.priority < priority else None
            count = 0 if shape is None else min(room, self._remaining(shape))
            if shape is None or not count or start + table[taken + count] > batch.least:
                continue
            left = self._remaining(shape)
            # Only when it saves work on the whole: then the bound that lets requests in without a draft stays true.
            if table[taken + count] - table[taken] <= shape.seconds(left) - shape.seconds(left - count):
                added = self._places(shape, count, start + table[taken + count], batch)
                room -= added
                taken += added
        return start + table[taken]

    def _places(self, shape: Shape, size: int, end: float, batch: Batch) -> int:
        """Give `size` places of a batch that ends at `end` to whose turn it is; return how many were taken."""
        heap = self._heaps.get(shape)
        if heap is None:
            tags = self._tags
            heap = [
                (tags.get(lane.flow, lane.flow.tag), index, lane) for index, lane in enumerate(shape.lanes.values())
            ]
            heapify(heap)
            self._heaps[shape] = heap
            self.steps += len(heap) >> 4
        left = size
        counts: dict[Lane, int] = {}
        unit = shape.curve.table[size] / size
        turns = 0
        while left and heap:
            turns += 1
            tag, index, lane = heap[0]
            flow = lane.flow
            known = self._tags.get(flow, flow.tag)
            if known != tag:
                heapreplace(heap, (known, index, lane))
                continue
            place = self._at.get(lane, 0)
            if lane not in counts:
                place = self._in_time(lane, place, end)
                counts[lane] = 0
            count = min(1 if len(heap) > 1 else left, len(lane.tickets) - place)
            if not count:
                heappop(heap)
                continue
            self._at[lane] = place + count
            self._tags[flow] = known + count * unit / flow.weight
            counts[lane] += count
            left -= count
        self.steps += turns >> 4
        self._note(shape, counts, batch, end)
        return size - left

    def _note(self, shape: Shape, counts: dict[Lane, int], batch: Batch, end: float) -> None:
        left = self._remaining(shape)
        for lane, count in counts.items():
            if count:
                batch.pieces.append((lane, count))
                batch.size += count
                left -= count
                place = self._at[lane]
                batch.least = min(batch.least, lane.tickets[place - count].deadline)
                self._finite -= _finite(lane.tickets, place - count, place)
                if lane in self._careful:
                    self._keep_margin(lane.tickets[place - count : place], end)
        self._left[shape] = left

    def _keep_margin(self, tickets: Sequence[AnyTicket], end: float) -> None:
        for ticket in tickets:
            if ticket.deadline < end + self._store.margin and ticket in self._strict:
                raise TooLate(ticket, end)

    def _in_time(self, lane: Lane, place: int, end: float) -> int:
        """Return the place of the first ticket of a lane that is not late when a batch ends at `end`."""
        tickets, probes = lane.tickets, self._store.probes
        first = place
        droppable = lane.flow.level.priority < self._kept
        while place < len(tickets):
            ticket = tickets[place]
            if ticket.deadline >= end or (probes and ticket in probes):
                break
            if not droppable or ticket in self._strict:
                raise TooLate(ticket, end)
            self.dropped.append(ticket)
            place += 1
        if place > first:
            self._at[lane] = place
            self._finite -= place - first
            self._left[lane.shape] = self._remaining(lane.shape) - (place - first)
        return place


EVERYTHING = Priority.HIGH + 1  # as `kept`: whatever is late is dropped


def _finite(tickets: list[AnyTicket], begin: int, end: int) -> int:
    """Return how many of tickets[begin:end] have a deadline; those come first."""
    if tickets[end - 1].deadline < inf:
        return end - begin
    return bisect_left(tickets, inf, begin, end, key=_deadline) - begin


def _deadline(ticket: AnyTicket) -> float:
    return ticket.deadline
