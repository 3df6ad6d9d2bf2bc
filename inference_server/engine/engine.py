"""One model at work: what callers see of it, all of it on the loop thread."""

import asyncio
import logging
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import inf
from typing import Any, Generic, TypeVar

from opentelemetry.trace import Tracer

from inference_server import names
from inference_server.batching import BatchQueue, CostModel, Ended, Limits, Ticket
from inference_server.batching.costs import BucketCosts
from inference_server.engine.compute import failure
from inference_server.engine.delivery import Delivery, outcome_of
from inference_server.engine.dispatcher import Dispatcher
from inference_server.engine.inline import Inline
from inference_server.engine.instances import Instance, Outcome
from inference_server.engine.invariance import Invariance, compare
from inference_server.engine.placing import runners_of
from inference_server.engine.records import record_of
from inference_server.engine.warming import time_batches
from inference_server.engine.work import Done, Item, Request, Slot, Submission, Work
from inference_server.models.model import Model, ModelCard, Placement, Signature
from inference_server.reporting import Reporter
from services.kit.clock import Clock
from services.kit.errors import CandelaError, DeadlineExceeded, Unavailable

_LOG = logging.getLogger(__name__)
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
_MIB = 1024 * 1024
_TIMERS_EARLY = 0.005


@dataclass(frozen=True, slots=True)
class Bounds:
    """What each model's queue may hold, who has which share of it (1.0 for whoever is not named), and for how many
    seconds a model may be timed before it takes work.
    """

    max_items: int = 4096
    max_bytes: int = 512 * _MIB
    timing_seconds: float = 0.25
    weights: Mapping[str, float] = field(default_factory=dict)


class Engine(Generic[InputT, OutputT]):
    """A model's queue and instances. `load` on any thread, then `open`; everything else on the loop thread."""

    def __init__(
        self, models: Sequence[Model[InputT, OutputT]], clock: Clock, tracer: Tracer, bounds: Bounds | None = None
    ) -> None:
        """Take one model for each device, all alike; `card.instances` batches run at a time on each."""
        bounds = bounds or Bounds()
        self._model = models[0]
        self.card: ModelCard = self._model.card
        self.signature: Signature[Any, Any] | None = self._model.signature
        self.invariance: Invariance | None = None
        instances = self.card.instances * len(models)
        self._timing_seconds = bounds.timing_seconds
        self._queue: BatchQueue[Slot] = BatchQueue(
            Limits(self.card.max_batch, instances, bounds.max_items, bounds.max_bytes, bounds.weights)
        )
        self.reporter = Reporter(self.card, tracer)
        self.reporter.ask_best(self._queue.costs.best)
        self._monotonic = clock.monotonic
        self._dispatcher = Dispatcher(self._queue, self._monotonic)
        self._runners = runners_of(models, self.card)
        self._instances = [
            Instance(number, self._runners[number % len(self._runners)], self.card, self._dispatcher, self._monotonic)
            for number in range(instances)
        ]
        self._inline = Inline(self._monotonic, allowed=self.card.placement is Placement.THREAD)
        self._accepting = False
        self._measuring: asyncio.Future[Invariance] | None = None
        self._bucket = self._model.bucket
        self._take_back = self._withdraw  # bound once, not once a request
        # Whether `answers` is asking, which can run a short batch itself: two turns of the loop less.
        self._at_once = False
        self._here: Instance | None = None

    @property
    def costs(self) -> CostModel:
        """The cost model, for statistics."""
        return self._queue.costs

    def known_costs(self) -> dict[Hashable, BucketCosts]:
        """Return what batches cost, by shape, as it is known now."""
        return self._dispatcher.known_costs()

    @property
    def waiting(self) -> int:
        """How many items wait for a batch."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether anything that was let in has not ended."""
        return self._delivery.inside > 0

    @property
    def ready(self) -> bool:
        """Whether work is taken and an instance lives to do it."""
        return self._accepting and any(instance.runner.alive for instance in self._instances)

    def load(self) -> None:
        """Load the model, warm it up and time it. Blocks for seconds; raises what the model raises."""
        with ThreadPoolExecutor(len(self._runners)) as pool:  # devices and processes side by side
            for loading in [pool.submit(runner.load) for runner in self._runners]:
                loading.result()
        timed = time_batches(
            self._runners[0].run, self._model, self.card.max_batch, self._timing_seconds, self._queue.costs
        )
        for bucket, size, seconds in timed:
            self._inline.learn(bucket, size, seconds)

    def discard(self) -> None:
        """Give back what `load` took, all or part of it, when the engine is not to be opened. Blocks."""
        self._close_runners()
        self.reporter.close()

    def open(self) -> None:
        """Begin to take work; call on the loop thread, after `load`."""
        self._loop = asyncio.get_running_loop()
        self._delivery = Delivery(self.card, self._loop, self._left, self._note)
        self._accepting = True
        for instance in self._instances:
            instance.start(self._delivery.post)

    def submit(
        self, items: Sequence[Item[InputT] | CandelaError], work: Work, done: Done[OutputT]
    ) -> Submission[OutputT]:
        """Let the items of a request wait for batches; `done` gets one result per item, in the same order.

        An error among `items` is that item's result already. `done` is called once, on the loop thread, never inside
        this call, and not after the submission was cancelled. What has not begun at the deadline is DeadlineExceeded.
        Raises ResourceExhausted (OVERLOADED) when the request cannot be done in time or has no room, DeadlineExceeded
        when its time is over, Unavailable when the model is not taking work.
        """
        (outcome,) = self.submit_many([(items, work, done)])
        if isinstance(outcome, CandelaError):
            try:
                raise outcome
            finally:
                del outcome  # its traceback holds this frame: it must not be held in return
        return outcome

    def submit_many(self, requests: Sequence[Request[InputT, OutputT]]) -> list[Submission[OutputT] | CandelaError]:
        """Do what `submit` does for many requests with one look at the queue; an error stands where one was refused."""
        now = self._monotonic()
        answers: list[Submission[OutputT] | CandelaError] = []
        offers: list[tuple[Submission[Any], Sequence[Ticket[Slot]]]] = []
        places: list[int] = []
        for items, work, done in requests:
            if not self._accepting or (work.deadline is not None and work.deadline <= now):
                answers.append(self._refused(self._reason_not_to_take(), work, len(items)))
                continue
            submission = self._prepared(items, work, done, now)
            if submission.tickets:
                places.append(len(answers))
                offers.append((submission, submission.tickets))
            else:
                self._loop.call_soon(self._delivery.complete, submission)
            answers.append(submission)
        if offers:
            self._offer(offers, places, answers, now)
        return answers

    async def answers(self, items: Sequence[Item[InputT] | CandelaError], work: Work) -> list[OutputT | CandelaError]:
        """Return the results of a request's items; when the caller goes away, what still waits is taken out."""
        future: asyncio.Future[list[OutputT | CandelaError]] = self._loop.create_future()

        def done(results: list[OutputT | CandelaError]) -> None:
            if not future.done():  # cancelled in the same turn of the loop
                future.set_result(results)

        self._at_once = True
        try:
            submission = self.submit(items, work, done)
        finally:
            self._at_once = False
            instance, self._here = self._here, None
        if instance is not None:
            self._run_here(instance)
        try:
            return await future
        finally:
            submission.cancel()

    async def measured_invariance(self) -> Invariance:
        """Return how far results depend on their neighbours in a batch; measured once, in a thread beside the work."""
        if self._measuring is None:
            work = asyncio.to_thread(compare, self._runners[0].run, self._model, self.card.max_batch)
            self._measuring = asyncio.ensure_future(work)
        try:
            self.invariance = await asyncio.shield(self._measuring)
        except Exception:
            self._measuring = None  # asked again, it is measured again
            raise
        return self.invariance

    async def close(self, seconds: float) -> None:
        """Take no more work, finish what waits and runs within `seconds`, fail the rest with Unavailable, and end."""
        self._accepting = False
        if not await self._delivery.emptied(seconds):
            self._abandon()
        for instance in self._instances:
            instance.stop()
        if await asyncio.to_thread(self._joined):
            await asyncio.to_thread(self._close_runners)
        self._delivery.deliver()
        self.reporter.close()

    def _joined(self) -> bool:
        return all(instance.join(1.0) for instance in self._instances)

    def _close_runners(self) -> None:
        for runner in self._runners:
            runner.close()

    def _abandon(self) -> None:
        """Fail everything that is still inside."""
        waiting = self._dispatcher.drop_all()
        running = [ticket for instance in self._instances for ticket in instance.running]
        _LOG.error("the model %s ends with %d items undone", self.card.identity, len(waiting) + len(running))
        for ticket in (*waiting, *running):
            self._delivery.settle(ticket, _stopping(self.card))
            self.reporter.ended(names.CANCELLED, ticket.tenant, 1)

    def _prepared(
        self, items: Sequence[Item[InputT] | CandelaError], work: Work, done: Done[OutputT], now: float
    ) -> Submission[OutputT]:
        submission: Submission[OutputT] = Submission(len(items), work, done, self._take_back)
        tickets: list[Ticket[Slot]] = []
        bucket = self._bucket
        deadline = inf if work.deadline is None else work.deadline
        priority, tenant = work.priority, work.tenant
        for index, item in enumerate(items):
            if isinstance(item, CandelaError):
                submission.fail_early(index, item)
                continue
            try:
                shape = bucket(item.value)
            except CandelaError as error:
                submission.fail_early(index, error.with_traceback(None))
            except Exception:  # noqa: BLE001 - a model's defect fails the item and not all calls of a frame
                _LOG.exception("the model %s cannot tell the shape of an item", self.card.identity)
                submission.fail_early(index, failure(self.card))
            else:
                tickets.append(
                    Ticket((submission, index, item.value), shape, item.size, now, deadline, priority, tenant)
                )
        submission.tickets = tickets
        if len(tickets) != len(items):
            self.reporter.ended(names.FAILED, tenant, len(items) - len(tickets))
        return submission

    def _offer(
        self,
        offers: Sequence[tuple[Submission[Any], Sequence[Ticket[Slot]]]],
        places: Sequence[int],
        answers: list[Submission[OutputT] | CandelaError],
        now: float,
    ) -> None:
        refusals, ended, woken = self._dispatcher.offer(offers, now)
        for (submission, tickets), place, refusal in zip(offers, places, refusals, strict=True):
            if refusal is None:
                self._delivery.inside += len(tickets)
            else:
                submission.tickets = ()
                answers[place] = self._refused(refusal, submission.work, len(tickets))
        if ended:
            self._loop.call_soon(self._delivery.end, ended)
        if woken is not None:
            self._wake(woken, offers)
        self.reporter.waiting(len(self._queue), self._queue.waiting_bytes)

    def _wake(self, instance: Instance, offers: Sequence[tuple[Submission[Any], Sequence[Ticket[Slot]]]]) -> None:
        if len(offers) == 1 and self._inline.trusts(offers[0][1]):
            if self._at_once:
                self._here = instance
            else:
                self._loop.call_soon(self._run_here, instance)
        else:
            instance.wake()

    def _run_here(self, instance: Instance) -> None:
        """Run what waits on the loop, as long as it is surely short; the rest goes to the instance's thread."""
        taken = self._dispatcher.next(instance, None)
        if taken.ended:
            self._delivery.end(taken.ended)
        if not taken.batch:
            return
        if not self._inline.trusts(taken.batch):
            instance.wake(taken)
            return
        outcome = instance.run(taken.batch)
        self._inline.ran(outcome.ended - outcome.began)
        taken = self._dispatcher.next(instance, outcome)
        if taken.batch:
            instance.wake(taken)
        self._delivery.add(outcome, taken.ended)

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            record = record_of(outcome)
            if outcome.ok:
                self._inline.learn(record.bucket, len(outcome.batch), record.compute)
            self.reporter.batch(record)
        self.reporter.waiting(len(self._queue), self._queue.waiting_bytes)

    def _left(self, one: Ended[Slot]) -> None:
        self.reporter.ended(outcome_of(one), one.ticket.tenant, 1)

    def _withdraw(self, submission: Submission[Any]) -> None:
        count = self._dispatcher.withdraw(submission.tickets)
        if count:
            self._delivery.left(count)
            # Doors withdraw what reached its deadline, by a timer that may be a little early.
            deadline = submission.work.deadline
            over = deadline is not None and deadline <= self._monotonic() + _TIMERS_EARLY
            self.reporter.ended(names.EXPIRED if over else names.CANCELLED, submission.work.tenant, count)
            self.reporter.waiting(len(self._queue), self._queue.waiting_bytes)

    def _reason_not_to_take(self) -> CandelaError:
        if not self._accepting:
            return _stopping(self.card)
        return DeadlineExceeded("the deadline passed before the work began")

    def _refused(self, error: CandelaError, work: Work, items: int) -> CandelaError:
        reason = "stopping" if isinstance(error, Unavailable) else error.metadata.get("cause", "deadline")
        self.reporter.refused(reason, work.tenant, items)
        return error


def _stopping(card: ModelCard) -> Unavailable:
    return Unavailable(f"the model {card.name} is not taking work", metadata={"model": card.identity})
