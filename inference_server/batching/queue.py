"""The waiting items of one model and what happens to them: offered, taken, ended, withdrawn.

- **Late binding.** A batch is formed when an instance is free and asks for it; nothing waits for company meanwhile.
- **Order.** schedule.py says who goes first and in whose company.
- **Admission.** A request is refused at once when it cannot end in time or would make others late that may not be; of
  lower priorities, who is made late leaves at once. As long as everything ends in time in whatever order, that is one
  comparison; else the schedule is drafted with the newcomer in it and, if good, kept: batches then follow that plan,
  which cancellations can only bring forward, until the next request.
- **Only wanted work.** Withdrawn items never get into a batch, nor does what cannot end before its deadline any more.
"""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, Generic, TypeVar, cast

from inference_server.batching import refusals
from inference_server.batching.admission import Admission
from inference_server.batching.costs import CostModel
from inference_server.batching.instances import Instances, Running
from inference_server.batching.lanes import AnyTicket, Flow, Lane, Store
from inference_server.batching.plan import Batch, Plan
from inference_server.batching.schedule import EVERYTHING, Draft, TooLate
from inference_server.batching.tickets import Ended, Limits, Taken, Ticket
from services.kit.errors import CandelaError

P = TypeVar("P")
Pieces = list[tuple[Lane, int]]


class BatchQueue(Generic[P]):
    """The waiting items of one model. Not thread-safe: the engine holds a lock around every call."""

    def __init__(self, limits: Limits, costs: CostModel | None = None) -> None:
        self._limits = limits
        self.costs = CostModel(limits.max_batch) if costs is None else costs
        self._store = Store(limits, self.costs)
        self._instances = Instances(limits.instances)
        self._admission = Admission(self._store, self._instances)
        self._plan: Plan | None = None
        self._behind = 0.0  # how many seconds batches ended later than expected since the plan was last checked

    def __len__(self) -> int:
        return self._store.count

    @property
    def waiting_bytes(self) -> int:
        return self._store.bytes

    def offer(self, tickets: Sequence[Ticket[P]], now: float) -> Sequence[Ended[P]]:
        """Let all tickets of one request wait, or none; return what of lower priorities had to leave for them.

        The tickets are of one tenant, priority and deadline. Raises ResourceExhausted (OVERLOADED), with the cause in
        its metadata (too_late, queue_full, queue_bytes, share) and when to come back, None for never like this;
        DeadlineExceeded when the deadline passed already.
        """
        if not tickets:
            return ()
        first = tickets[0]
        if first.deadline <= now:
            raise refusals.expired()
        store, admission = self._store, self._admission
        flow = store.levels[first.priority].attempt(first.tenant, now)
        size = first.size if len(tickets) == 1 else sum(ticket.size for ticket in tickets)
        leave = admission.fits(tickets, flow, size)
        store.reprice()
        if self._instances.running and (refusal := admission.known_refusal(tickets, flow, now)) is not None:
            raise refusal
        store.add(tickets, flow)
        try:
            if flow.level.weights > flow.weight:
                admission.share(tickets, flow, now)
            if not admission.relaxed(now):
                store.refresh()
                if not admission.relaxed(now):
                    return self._squeeze(tickets, flow, now, leave=leave)
        except CandelaError:
            for ticket in tickets:
                store.remove(ticket)
            raise
        self._plan = None
        return self._make_room(flow) if leave else ()

    def take(self, instance: int, now: float) -> Taken[P]:
        """Return the next batch for `instance`, which is free at `now`; empty when nothing waits."""
        if instance in self._instances.running:
            self.finished(instance, now, ok=False)
        store = self._store
        ended: list[Ended[Any]] = []
        if now >= store.least and store.count:
            ended += _ended(store.sweep(now), refusals.expired())
        if not store.count:
            self._plan = None
            return Taken((), ended)
        store.reprice()
        if self._behind > 0.0:
            self._check(now, ended)
        self._admission.changed()
        return Taken(cast("Sequence[Ticket[P]]", self._form(instance, now, ended)), ended)

    def finished(self, instance: int, now: float, *, ok: bool = True) -> None:
        """Tell that the batch which `instance` took is over; the cost model learns from it when it went well."""
        running = self._instances.running.pop(instance, None)
        if running is None:
            return
        seconds = now - running.begun
        late = now - running.end
        for flow, count in running.owners:
            flow.tag += late * count / running.size / flow.weight
        if ok:
            before = self.costs.version
            self.costs.observe(running.bucket, running.size, seconds)
            self.costs.curve(running.bucket).confirmed = now
            if self.costs.version != before:
                self._behind = inf
        if late > 0.0:
            self._behind += late
        self._admission.changed()

    def withdraw(self, tickets: Iterable[Ticket[P]]) -> int:
        """Remove the tickets that still wait and return how many did."""
        count = 0
        for ticket in tickets:
            if ticket.lane is not None:
                self._store.remove(ticket)
                count += 1
        self._admission.changed()
        return count

    def drop_all(self) -> list[Ticket[P]]:
        """Remove and return everything that waits."""
        dropped: list[Ticket[P]] = []
        for lane in list(self._store.lanes()):
            dropped += self._store.pop(lane, len(lane.tickets))
        self._plan = None
        return dropped

    def _squeeze(self, tickets: Sequence[Ticket[P]], flow: Flow, now: float, *, leave: int) -> Sequence[Ended[P]]:
        """Decide about tickets, in the store already, when not just any order ends everything in time."""
        store = self._store
        curve = tickets[-1].lane.shape.curve
        idle = not self._instances.running and store.count == len(tickets)
        try:
            admitted = self._admission.decide(tickets, flow, now, self._plan)
        except CandelaError:
            if not (idle and curve.confirmed < now - self._limits.probe_after):
                raise
            # Nobody has seen for a while that batches take so long: whoever comes first finds out.
            store.probes.update(tickets)
            self._plan = None
            return ()
        self._plan = admitted.plan
        for late in admitted.displaced:
            store.remove(late)
        wait = store.work / self._instances.count
        ended = _ended(admitted.displaced, refusals.displaced("too_late", wait)) if admitted.displaced else []
        return [*ended, *self._make_room(flow)] if leave else ended

    def _make_room(self, flow: Flow) -> list[Ended[P]]:
        """End the latest items of the lowest priorities, of who holds most for its weight, until the bounds hold."""
        store, limits = self._store, self._limits
        gone: list[AnyTicket] = []
        for level in reversed(store.levels.values()):
            while level.count and (store.count > limits.max_items or store.bytes > limits.max_bytes):
                largest = max(level.active.values(), key=lambda one: one.count / one.weight)
                lane = max(largest.lanes.values(), key=lambda one: one.due(-1))
                gone.append(lane.tickets[-1])
                store.remove(lane.tickets[-1])
            if level is flow.level:
                break
        self._admission.changed()
        return _ended(gone, refusals.displaced("queue_full", store.work / self._instances.count)) if gone else []

    def _check(self, now: float, ended: list[Ended[Any]]) -> None:
        """End at once what cannot be in time any more, when batches took longer than expected."""
        store = self._store
        if self._behind < store.margin / 2 or not store.finite:
            return
        self._behind = 0.0
        store.refresh()
        if self._admission.relaxed(now) or not self._admission.affordable(now):
            return
        draft = Draft(store, EVERYTHING)
        try:
            self._plan = draft.all(self._instances.free(now))
        except TooLate:  # too much to look at all of it: what is late is found when its turn comes
            return
        finally:
            self._admission.spend(draft.steps)
        self._end_late(draft.dropped, ended)

    def _form(self, instance: int, now: float, ended: list[Ended[Any]]) -> list[AnyTicket]:
        """Take the next batch that is in time out of the store and let it run."""
        store = self._store
        if store.count == 1 and not self._plan:  # a single caller's: nothing to choose, and no draft to pay for
            self._plan = None
            lane = next(store.lanes())
            if now + lane.shape.curve.table[1] <= lane.tickets[0].deadline:
                return self._run(instance, [(lane, 1)], now)
        while store.count:
            if self._plan:
                pieces = self._live(self._plan.pop(), now, ended)
            else:
                draft = Draft(store, EVERYTHING)
                explore = self._plan is None and self._admission.roomy(now)
                self._plan = None
                draft.next(now, explore=explore)
                self._end_late(draft.dropped, ended)
                pieces = draft.batches[0].pieces if draft.batches else []
            if pieces:
                return self._run(instance, pieces, now)
        return []

    def _live(self, batch: Batch, now: float, ended: list[Ended[Any]]) -> Pieces:
        """Return what is left of a planned batch after cancellations, without what would be late."""
        live = [(lane, min(count, len(lane.tickets))) for lane, count in batch.pieces if lane.tickets]
        if not live:
            return live
        end = now + live[0][0].shape.curve.table[sum(count for _, count in live)]
        late: list[AnyTicket] = []
        for lane, _ in live:
            place = 0
            while place < len(lane.tickets) and lane.tickets[place].deadline < end:
                place += 1
            if place:
                late += lane.tickets[:place]
        if not late:
            return live
        self._end_late(late, ended)
        return [(lane, min(count, len(lane.tickets))) for lane, count in batch.pieces if lane.tickets]

    def _run(self, instance: int, pieces: Pieces, now: float) -> list[AnyTicket]:
        leader = pieces[0][0]
        curve, bucket = leader.shape.curve, leader.shape.bucket
        level = leader.flow.level
        size = sum(count for _, count in pieces)
        unit = curve.table[size] / size
        level.virtual = max(level.virtual, leader.flow.tag)
        tickets: list[AnyTicket] = []
        for lane, count in pieces:
            flow = lane.flow
            flow.tag += unit * count / flow.weight
            tickets += self._store.pop(lane, count)
        owners = [(lane.flow, count) for lane, count in pieces]
        self._instances.running[instance] = Running(bucket, size, now, now + curve.table[size], owners)
        return tickets

    def _end_late(self, tickets: Sequence[AnyTicket], ended: list[Ended[Any]]) -> None:
        wait = self._store.work / self._instances.count
        for ticket in tickets:
            overtaken = ticket.lane.flow.level.overtaken
            self._store.remove(ticket)
            error = refusals.displaced("too_late", wait) if overtaken else refusals.too_late(wait)
            ended.append(Ended(ticket, error))


def _ended(tickets: Iterable[AnyTicket], error: CandelaError) -> list[Ended[Any]]:
    return [Ended(ticket, error) for ticket in tickets]
