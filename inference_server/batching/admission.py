"""Whether a request may wait: when it can end in time, makes nobody late who may not be, and takes only its share."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from math import inf

from inference_server.batching import refusals
from inference_server.batching.instances import Instances
from inference_server.batching.lanes import AnyTicket, Flow, Lane, Store
from inference_server.batching.plan import Plan
from inference_server.batching.schedule import Draft, TooLate
from services.kit.errors import ResourceExhausted

_MOST_TURNS = 512  # batches of a single lane that are gone through one by one
_ROOMY = 5.0  # so many of the largest batches before the deadline are time enough to try sizes
_MOST_REFUSED = 1024  # refusals that are remembered
_MOST_STEPS = 256  # so many batches may be drafted at once,
_STEPS_A_SECOND = 20000.0  # and so many on the long run: at most a tenth of a core
_CONTENDED = 0.5  # a queue that is so full is shared by weight


@dataclass(frozen=True, slots=True)
class Admitted:
    """How a request was let in: the batches to follow (None: the usual order will do), and whom it makes late."""

    plan: Plan | None
    displaced: Sequence[AnyTicket] = ()


class Admission:
    """The test of requests against the clock, the cost model and everybody's share."""

    def __init__(self, store: Store, instances: Instances) -> None:
        self._store = store
        self._instances = instances
        # Refused lately, by flow and shape: items, deadline, and which deadline would have been late enough. What was
        # refused is refused again without another look until something leaves the queue or an instance.
        self._refused: dict[tuple[Flow, object], tuple[int, float, float]] = {}
        self._steps = 0.0  # of drafts, less what time has paid for
        self._paid = 0.0  # until when

    def changed(self) -> None:
        """Forget refusals: something left, or was learned."""
        if self._refused:
            self._refused.clear()

    def relaxed(self, now: float, more: float = 0.0) -> bool:
        """Whether everything that waits ends in time in whatever order it runs, with `more` seconds of work beside."""
        store, instances = self._store, self._instances
        count = instances.count
        end = now + (store.work + more + instances.busy(now)) / count + store.margin
        if count > 1:
            end += store.longest * (1.0 - 1.0 / count)
        return end <= store.least

    def fits(self, tickets: Sequence[AnyTicket], flow: Flow, size: int) -> int:
        """Return how many items of lower priorities must leave for a request (-1: as many as its bytes need).

        Raises ResourceExhausted when there is no room for it, or the room is contended and the tenant has its share.
        """
        store = self._store
        limits = store.limits
        items, total = store.count + len(tickets), store.bytes + size
        if items <= limits.max_items * _CONTENDED and total <= limits.max_bytes * _CONTENDED:
            return 0
        share = flow.level.share(flow)
        if share < 1.0 and flow.count:
            over = flow.count + len(tickets) - share * limits.max_items
            if over > 0.0 or flow.bytes + size > share * limits.max_bytes:
                raise refusals.over_share(max(over, 1.0) / max(self._pace() * share, 1e-3))
        if items <= limits.max_items and total <= limits.max_bytes:
            return 0
        lower = [level for level in store.levels.values() if level.priority < flow.level.priority]
        if (
            items - sum(level.count for level in lower) > limits.max_items
            or total - sum(level.bytes for level in lower) > limits.max_bytes
        ):
            raise refusals.no_room(store, len(tickets), size, self._pace())
        return max(items - limits.max_items, -1) or -1

    def share(self, tickets: Sequence[AnyTicket], flow: Flow, now: float) -> None:
        """Refuse what makes a tenant hold more than its share of the time until the deadline, while others are active.

        The tickets are in the store. What waits for the next batch is not shared, or instances would idle; nor is one
        batch before and one after, which whoever comes finds running or just misses.
        """
        deadline = tickets[-1].deadline
        store, count = self._store, self._instances.count
        if deadline == inf or flow.count == len(tickets) or store.work <= count * store.longest:
            return
        share = flow.level.share(flow)
        slack = deadline - now - self._instances.busy(now) / count - store.margin
        # Every shape's last batch may be small, and takes its time all the same.
        slack = max(slack - store.longest * (1.0 + max(len(flow.level.shapes) / count, 1.0)), slack / 2.0)
        over = flow.work() - share * count * slack
        if over > 0.0:
            raise refusals.over_share(over / (share * count))

    def known_refusal(self, tickets: Sequence[AnyTicket], flow: Flow, now: float) -> ResourceExhausted | None:
        """Return the refusal of a request like one that was refused a moment ago."""
        last = tickets[-1]
        known = self._refused.get((flow, last.bucket))
        if known is None or len(tickets) < known[0] or not known[1] <= last.deadline < known[2]:
            return None
        if len(tickets) > 1 and any(ticket.bucket != last.bucket for ticket in tickets):
            return None
        return self._late(last, known[2], now)

    def decide(self, tickets: Sequence[AnyTicket], flow: Flow, now: float, plan: Plan | None) -> Admitted:
        """Look closely at tickets of one flow that are in the store already; raises ResourceExhausted: they must go."""
        store = self._store
        lane: Lane = tickets[-1].lane
        if store.count == len(lane.tickets):
            self._alone(tickets, lane, now)
            return Admitted(None)
        hurried = not self.affordable(now)
        if hurried and self._lowest(flow):
            together = all(ticket.lane is lane for ticket in tickets)
            if plan is not None and together and plan.join(tickets, store.margin):
                return Admitted(plan)
            raise self._refusal(tickets, TooLate(None, inf), now)
        draft = Draft(store, flow.level.priority, frozenset(tickets))
        try:
            plan = draft.all(self._instances.free(now), shallow=hurried)
            if hurried:
                for level in store.levels.values():
                    level.overtaken |= level.priority < flow.level.priority
            return Admitted(plan, draft.dropped)
        except TooLate as late:
            raise self._refusal(tickets, late, now) from None
        finally:
            self._steps += draft.steps

    def affordable(self, now: float) -> bool:
        """Whether a draft of everything may be made.

        If not, newcomers join the plan's end, or are looked at together with higher priorities only.
        """
        self._steps = max(self._steps - (now - self._paid) * _STEPS_A_SECOND, 0.0)
        self._paid = now
        return self._steps <= _MOST_STEPS

    def spend(self, steps: int) -> None:
        """Count a draft that somebody else made."""
        self._steps += steps

    def roomy(self, now: float) -> bool:
        """Whether an instance may try another batch size: if it helps nobody ahead, everything still ends in time."""
        store = self._store
        if self.relaxed(now, 3.0 * store.longest):
            return True
        lane = next(store.lanes())
        curve = lane.shape.curve
        table, best = curve.table, curve.best
        if not curve.curious or store.count > len(lane.tickets) or self._instances.count > 1:
            return False
        deadlines = (ticket.deadline for ticket in lane.tickets[::best])
        return all(now + table[-1] + (turn + 1) * table[best] <= deadline for turn, deadline in enumerate(deadlines))

    def _lowest(self, flow: Flow) -> bool:
        """Whether nothing of a lower priority waits, which would have to make way."""
        return self._store.count == sum(
            level.count for level in self._store.levels.values() if level.priority >= flow.level.priority
        )

    def _alone(self, tickets: Sequence[AnyTicket], lane: Lane, now: float) -> None:
        """Look at tickets in the only lane: its batches are known without a draft, and none before them changes."""
        curve = lane.shape.curve
        table, best, total = curve.table, curve.best, len(lane.tickets)
        place = lane.place(tickets[0])
        joined, mine, last = place // best, (place + len(tickets) - 1) // best, (total - 1) // best
        free = self._instances.free(now)
        heapify(free)
        if last - joined > _MOST_TURNS or (len(free) > 1 and joined > _MOST_TURNS):
            raise self._late(tickets[-1], inf, now)
        if len(free) == 1:
            free[0] += joined * table[best]
        else:
            for _ in range(joined):
                heapreplace(free, free[0] + table[best])
        needed = -inf
        for turn in range(joined, last + 1):
            end = free[0] + table[min(best, total - turn * best)]
            heapreplace(free, end)
            if turn <= mine:
                needed = max(needed, end + self._store.costs.margin(curve, table[best]))
                if curve.curious and tickets[-1].deadline - now > _ROOMY * table[-1]:
                    # So that there is time to try another size; the batch that is joined may still grow.
                    needed = max(needed, end + table[-1] + table[best])
            if lane.tickets[turn * best].deadline < end and not place <= turn * best < place + len(tickets):
                needed = inf
                break
        if needed > tickets[-1].deadline or needed == inf:
            if place + len(tickets) == total:
                self._remember(lane, tickets, needed)
            raise self._late(tickets[-1], needed, now)

    def _refusal(self, tickets: Sequence[AnyTicket], late: TooLate, now: float) -> ResourceExhausted:
        last = tickets[-1]
        lane: Lane = last.lane
        end = inf
        if late.ticket is not None and late.ticket in tickets:
            end = late.end + self._store.margin
        if lane.tickets[-len(tickets) :] == list(tickets):
            self._remember(lane, tickets, end)
        return self._late(last, end, now)

    def _remember(self, lane: Lane, tickets: Sequence[AnyTicket], needed: float) -> None:
        if len(self._refused) >= _MOST_REFUSED:  # many tenants while an instance is stuck
            self._refused.clear()
        self._refused[lane.flow, lane.shape.bucket] = (len(tickets), tickets[-1].deadline, needed)

    def _late(self, ticket: AnyTicket, end: float, now: float) -> ResourceExhausted:
        """Refuse work that would end at `end`: it fits when what is ahead of it is so much less."""
        store = self._store
        curve = store.costs.curve(ticket.bucket)
        alone = curve.table[1] + store.costs.margin(curve, curve.table[1])
        if now + alone > ticket.deadline:
            return refusals.too_late(None)
        waits = store.work / self._instances.count
        return refusals.too_late(min(end - ticket.deadline, waits))

    def _pace(self) -> float:
        """Return how many items leave in a second; 0.0 when nobody knows."""
        store = self._store
        return self._instances.count * store.count / store.work if store.work > 0.0 else 0.0
