"""How waiting tickets are kept: lanes in order of deadline, flows (tenants) with their virtual time, by priority."""

from bisect import bisect_left, insort_right
from collections.abc import Hashable, Iterable, Iterator, Sequence
from math import inf
from operator import attrgetter
from typing import Any

from inference_server.batching.costs import CostModel
from inference_server.batching.curves import Curve
from inference_server.batching.tickets import Limits, Priority, Ticket

AnyTicket = Ticket[Any]

_DEADLINE = attrgetter("deadline")
_PATIENCE = 60.0
_MOST_IDLE_FLOWS = 1024


class Lane:
    """The tickets of one priority, tenant and shape, earliest deadline first, then in order of arrival."""

    __slots__ = ("flow", "shape", "tickets")

    def __init__(self, flow: "Flow", shape: "Shape") -> None:
        self.flow = flow
        self.shape = shape
        self.tickets: list[AnyTicket] = []

    def place(self, ticket: AnyTicket) -> int:
        """Return the index of a ticket that waits here."""
        if self.tickets[-1] is ticket:
            return len(self.tickets) - 1
        return bisect_left(self.tickets, (ticket.deadline, ticket.order), key=_place)

    def due(self, index: int) -> float:
        """When the ticket at `index` is due: without a deadline, a while after it came, so that other shapes yield."""
        ticket = self.tickets[index]
        return ticket.deadline if ticket.deadline < inf else ticket.arrived + _PATIENCE


class Flow:
    """One tenant's work of one priority. `tag` is its virtual time: the seconds it was served, over its weight."""

    __slots__ = ("attempted", "bytes", "count", "counted", "lanes", "level", "tag", "tenant", "weight")

    def __init__(self, level: "Level", tenant: str, weight: float) -> None:
        self.level = level
        self.tenant = tenant
        self.weight = weight
        self.tag = 0.0
        self.lanes: dict[Hashable, Lane] = {}
        self.count = 0
        self.bytes = 0
        self.attempted = -inf
        self.counted = False  # whether its weight is in the level's sum

    def work(self) -> float:
        """Return the seconds that its waiting items take in batches of the best size."""
        return sum(len(lane.tickets) * lane.shape.unit for lane in self.lanes.values())


class Shape:
    """What waits of one shape in one priority, and how many seconds of work that is at most."""

    __slots__ = ("bucket", "count", "curve", "lanes", "unit", "work")

    def __init__(self, bucket: Hashable, curve: Curve) -> None:
        self.bucket = bucket
        self.lanes: dict[str, Lane] = {}
        self.count = 0
        self.work = 0.0
        self.reprice(curve)

    def reprice(self, curve: Curve) -> None:
        self.curve = curve
        self.unit = curve.table[curve.best] / curve.best
        self.work = self.seconds(self.count)

    def seconds(self, count: int) -> float:
        """Return what `count` items take in batches of the best size and a rest."""
        full, rest = divmod(count, self.curve.best)
        table = self.curve.table
        return full * table[self.curve.best] + table[rest]


class Level:
    """Everything of one priority. `virtual` is the virtual time of who was served last."""

    __slots__ = (
        "_limits", "_recount", "active", "bytes", "count", "flows", "overtaken", "priority", "shapes",
        "virtual", "weights",
    )  # fmt: skip

    def __init__(self, priority: Priority, limits: Limits) -> None:
        self.priority = priority
        self._limits = limits
        self.flows: dict[str, Flow] = {}
        self.active: dict[str, Flow] = {}  # those that have something waiting
        self.shapes: dict[Hashable, Shape] = {}
        self.count = 0
        self.bytes = 0
        self.virtual = 0.0
        self.weights = 0.0  # of the flows that tried lately
        self.overtaken = False  # whether higher priorities were let in without a look at what waits here
        self._recount = -inf

    def attempt(self, tenant: str, now: float) -> Flow:
        """Note that a tenant wants something, whatever becomes of it, and return its flow."""
        flow = self.flows.get(tenant)
        if flow is None:
            flow = self.flows[tenant] = Flow(self, tenant, self._limits.weights.get(tenant, 1.0))
        flow.attempted = now
        if not flow.counted:
            flow.counted = True
            self.weights += flow.weight
        if now >= self._recount:
            self._forget(now)
        return flow

    def share(self, flow: Flow) -> float:
        """Return the part of the model that is a flow's, among those that are active."""
        return 1.0 if self.weights <= flow.weight else flow.weight / self.weights

    def _forget(self, now: float) -> None:
        """Take who is silent out of the sum of weights, and out of memory when its virtual time is the past."""
        activity = self._limits.activity
        self._recount = now + activity / 8
        self.weights = 0.0
        idle: list[Flow] = []
        for flow in self.flows.values():
            flow.counted = flow.count > 0 or flow.attempted > now - activity
            if flow.counted:
                self.weights += flow.weight
            elif flow.tag <= self.virtual:
                idle.append(flow)
        for flow in idle:
            del self.flows[flow.tenant]
        if len(self.flows) - len(self.active) > _MOST_IDLE_FLOWS:
            for flow in [flow for flow in self.flows.values() if not flow.count][: -_MOST_IDLE_FLOWS // 2]:
                del self.flows[flow.tenant]
                self.weights -= flow.weight if flow.counted else 0.0


class Store:
    """All waiting tickets of a model with their sums: items, bytes, seconds of work, and the earliest deadline."""

    def __init__(self, limits: Limits, costs: CostModel) -> None:
        self.limits = limits
        self.costs = costs
        self.levels = {priority: Level(priority, limits) for priority in sorted(Priority, reverse=True)}
        self.count = 0
        self.bytes = 0
        self.finite = 0  # how many have a deadline
        self.work = 0.0
        self.least = inf  # no ticket's deadline is earlier; exact only after `sweep` and `refresh`
        self.longest = 0.0  # no batch takes longer
        self.margin = 0.0  # no shape's is larger
        self.probes: set[AnyTicket] = set()  # those that run although they are expected to be late
        self._order = 0
        self._priced = -1
        self._exact = True  # whether `least` is: nothing left since it was found

    def shape(self, level: Level, bucket: Hashable) -> Shape:
        """Return what waits of a shape; made but not kept when there is nothing."""
        shape = level.shapes.get(bucket)
        return Shape(bucket, self.costs.curve(bucket)) if shape is None else shape

    def reprice(self) -> None:
        """Follow the cost model when it learned something new."""
        if self._priced == self.costs.version:
            return
        self._priced = self.costs.version
        self.work = self.longest = self.margin = 0.0
        for level in self.levels.values():
            for shape in level.shapes.values():
                shape.reprice(self.costs.curve(shape.bucket))
                self.work += shape.work
                self._bound(shape)

    def add(self, tickets: Iterable[AnyTicket], flow: Flow) -> None:
        """Let the tickets of one flow wait."""
        level = flow.level
        if not flow.count:
            level.active[flow.tenant] = flow
            # Who comes back has no credit for the time it was away.
            flow.tag = max(flow.tag, level.virtual)
        for ticket in tickets:
            lane = flow.lanes.get(ticket.bucket)
            if lane is None:
                lane = self._lane(flow, ticket.bucket)
            self._order = ticket.order = self._order + 1
            ticket.lane = lane
            deadline = ticket.deadline
            waiting = lane.tickets
            if waiting and deadline < waiting[-1].deadline:
                insort_right(waiting, ticket, key=_DEADLINE)
            else:
                waiting.append(ticket)
            if deadline < inf:
                self.finite += 1
                self.least = min(self.least, deadline)
            self._count(lane, 1, ticket.size)

    def remove(self, ticket: AnyTicket) -> None:
        """Take out one waiting ticket, wherever it is in its lane."""
        lane: Lane = ticket.lane
        waiting = lane.tickets
        del waiting[0 if waiting[0] is ticket else lane.place(ticket)]
        self._left(lane, (ticket,))

    def pop(self, lane: Lane, count: int) -> list[AnyTicket]:
        """Take out the first `count` tickets of a lane."""
        gone = lane.tickets[:count]
        del lane.tickets[:count]
        self._left(lane, gone)
        return gone

    def sweep(self, now: float) -> list[AnyTicket]:
        """Take out everything whose deadline passed, and find the earliest one of the rest."""
        expired: list[AnyTicket] = []
        self.least = inf
        for lane in list(self.lanes()):
            waiting = lane.tickets
            if waiting[0].deadline <= now:
                expired += self.pop(lane, sum(1 for _ in _until(waiting, now)))
            if waiting:
                self.least = min(self.least, waiting[0].deadline)
        return expired

    def refresh(self) -> None:
        """Find the earliest deadline."""
        if self._exact:
            return
        self._exact = True
        self.least = min((lane.tickets[0].deadline for lane in self.lanes()), default=inf)

    def lanes(self) -> Iterator[Lane]:
        """Iterate over all lanes; none is empty."""
        for level in self.levels.values():
            for flow in level.active.values():
                yield from flow.lanes.values()

    def _lane(self, flow: Flow, bucket: Hashable) -> Lane:
        level = flow.level
        shape = level.shapes.get(bucket)
        if shape is None:
            shape = level.shapes[bucket] = Shape(bucket, self.costs.curve(bucket))
            self._bound(shape)
        lane = flow.lanes[bucket] = shape.lanes[flow.tenant] = Lane(flow, shape)
        return lane

    def _bound(self, shape: Shape) -> None:
        curve = shape.curve
        longest = curve.table[curve.best]
        self.longest = max(self.longest, longest)
        self.margin = max(self.margin, self.costs.margin(curve, longest))

    def _left(self, lane: Lane, gone: Sequence[AnyTicket]) -> None:
        count = size = 0
        for ticket in gone:
            ticket.lane = None
            count += 1
            size += ticket.size
            if ticket.deadline < inf:
                self.finite -= 1
                if ticket.deadline <= self.least:
                    self._exact = False
        self._count(lane, -count, -size)
        flow, shape = lane.flow, lane.shape
        if not lane.tickets:
            del flow.lanes[shape.bucket], shape.lanes[flow.tenant]
        if not flow.count:
            del flow.level.active[flow.tenant]
            if not flow.level.count:
                flow.level.overtaken = False
        if not shape.count:
            del flow.level.shapes[shape.bucket]
        if self.probes:
            self.probes.difference_update(gone)
        if not self.count:
            # Sums of floats do not quite come back to zero, and bounds not at all.
            self.work = self.longest = self.margin = 0.0
            self.least = inf

    def _count(self, lane: Lane, count: int, size: int) -> None:
        flow, shape = lane.flow, lane.shape
        level = flow.level
        self.count += count
        self.bytes += size
        level.count += count
        level.bytes += size
        flow.count += count
        flow.bytes += size
        shape.count += count
        work = shape.seconds(shape.count)
        self.work += work - shape.work
        shape.work = work


def _place(ticket: AnyTicket) -> tuple[float, int]:
    return ticket.deadline, ticket.order


def _until(waiting: Iterable[AnyTicket], now: float) -> Iterator[AnyTicket]:
    for ticket in waiting:
        if ticket.deadline > now:
            return
        yield ticket
