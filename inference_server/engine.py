"""Runs one model: a bounded queue, instances on threads, typed errors for single items, and an orderly end.

The policy stands in batching/; this file is where it meets threads, models and clocks.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

from opentelemetry.trace import SpanContext, Tracer

from inference_server.batching import BatchQueue, Limits, Taken, Ticket
from inference_server.models.model import Model, ModelCard
from inference_server.reporting import BatchReport, Reporter
from inference_server.submission import Request, Submission, failures_in
from services.kit.clock import Clock
from services.kit.errors import CandelaError, Internal, ResourceExhausted, Unavailable

_LOG = logging.getLogger(__name__)
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


@dataclass(frozen=True, slots=True)
class Item(Generic[InputT]):
    """One input and how many bytes it keeps in memory while it waits."""

    value: InputT
    size: int


@dataclass(frozen=True, slots=True)
class _Slot(Generic[InputT, OutputT]):
    request: Request[OutputT]
    index: int
    value: InputT


class Engine(Generic[InputT, OutputT]):
    """One model's queue and instances. `start` before anything else; `close` at the end. Thread-safe."""

    def __init__(
        self, model: Model[InputT, OutputT], clock: Clock, tracer: Tracer, *, max_items: int, max_bytes: int
    ) -> None:
        """Bound the queue to `max_items` items and `max_bytes` bytes of inputs."""
        self._model = model
        self._clock = clock
        self._reporter = Reporter(model.card.identity, tracer)
        limits = Limits(model.card.max_batch, model.card.instances, max_items, max_bytes)
        self._queue: BatchQueue[_Slot[InputT, OutputT]] = BatchQueue(limits)
        self._changed = threading.Condition()
        self._running = 0
        self._accepting = False
        self._threads: list[threading.Thread] = []

    @property
    def card(self) -> ModelCard:
        return self._model.card

    def start(self) -> None:
        """Load the model, warm it up, and begin to take work. Blocks for seconds; raises what the model raises."""
        self._model.load()
        self._model.warm_up()
        self._accepting = True
        for number in range(self.card.instances):
            thread = threading.Thread(target=self._serve, args=(number,), name=f"{self.card.name}-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(
        self, items: Sequence[Item[InputT] | CandelaError], span: SpanContext, deadline: float | None = None
    ) -> Submission[OutputT]:
        """Let the items of a request wait for batches; its future brings one result per item, in the same order.

        An error among `items` is that item's result already. `deadline` is in seconds of the engine's clock; what has
        not begun by then fails with DeadlineExceeded. Raises ResourceExhausted (OVERLOADED, with a hint) when the queue
        has no room, Unavailable when the engine is not taking work.
        """
        request: Request[OutputT] = Request(len(items), span)
        tickets: list[Ticket[_Slot[InputT, OutputT]]] = []
        early: list[tuple[int, CandelaError]] = []
        for index, item in enumerate(items):
            try:
                tickets.append(self._ticket(request, index, item, inf if deadline is None else deadline))
            except CandelaError as error:
                early.append((index, error))
        with self._changed:
            self._admit(tickets)
            last = [request.settle(index, error) for index, error in early]
            self._changed.notify_all()
        self._reporter.ended("failed", len(early))
        if any(last) or not items:
            request.deliver()
        return Submission(request, lambda: self._withdraw(tickets))

    def close(self, seconds: float) -> None:
        """Take no more work, finish what waits and runs within `seconds`, fail the rest with Unavailable, and end."""
        with self._changed:
            self._accepting = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._queue and not self._running, timeout=seconds)
            left = self._queue.drop_all()
        self._settle([(ticket.payload, _stopping(self.card)) for ticket in left])
        self._reporter.ended("cancelled", len(left))
        for thread in self._threads:
            thread.join(timeout=seconds)

    def _ticket(
        self, request: Request[OutputT], index: int, item: Item[InputT] | CandelaError, deadline: float
    ) -> Ticket[_Slot[InputT, OutputT]]:
        if isinstance(item, CandelaError):
            raise item
        slot = _Slot(request, index, item.value)
        return Ticket(slot, self._model.bucket(item.value), item.size, self._clock.monotonic(), deadline)

    def _admit(self, tickets: Sequence[Ticket[_Slot[InputT, OutputT]]]) -> None:
        if not self._accepting:
            self._reporter.refused("stopping")
            raise _stopping(self.card)
        try:
            self._queue.offer(tickets, self._clock.monotonic())
        except ResourceExhausted:
            self._reporter.refused("overloaded")
            raise
        self._reporter.waiting(len(self._queue))

    def _withdraw(self, tickets: Sequence[Ticket[_Slot[InputT, OutputT]]]) -> None:
        with self._changed:
            count = self._queue.withdraw(tickets)
            self._reporter.waiting(len(self._queue))
            self._changed.notify_all()  # close() may be waiting for the queue to empty
        self._reporter.ended("cancelled", count)

    def _serve(self, number: int) -> None:
        """Be one instance: form a batch whenever free, run it, until the engine closes."""
        while (taken := self._next(number)) is not None:
            self._settle([(ended.ticket.payload, ended.error) for ended in taken.ended])
            self._reporter.ended("expired", len(taken.ended))
            if taken.batch:
                self._run(number, taken.batch)
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _next(self, number: int) -> Taken[_Slot[InputT, OutputT]] | None:
        with self._changed:
            while True:
                taken = self._queue.take(number, self._clock.monotonic())
                if taken.batch or taken.ended:
                    self._running += 1
                    self._reporter.waiting(len(self._queue))
                    return taken
                if not self._accepting:
                    return None
                self._changed.wait()

    def _run(self, number: int, batch: Sequence[Ticket[_Slot[InputT, OutputT]]]) -> None:
        begun = self._clock.monotonic()
        report = BatchReport([begun - ticket.arrived for ticket in batch])
        spans = {id(ticket.payload.request): ticket.payload.request.span for ticket in batch}
        with self._reporter.batch(spans.values(), report):
            results = self._compute([ticket.payload.value for ticket in batch])
            report.compute = self._clock.monotonic() - begun
            report.failed = failures_in(results)
        with self._changed:
            self._queue.finished(number, self._clock.monotonic())
        self._settle([(ticket.payload, result) for ticket, result in zip(batch, results, strict=True)])

    def _compute(self, values: Sequence[InputT]) -> Sequence[OutputT | CandelaError]:
        try:
            results = self._model.run(values)
        except Exception:  # noqa: BLE001 - whatever a model raises fails its batch and never the process
            _LOG.exception("the model %s failed on a batch of %d", self.card.identity, len(values))
        else:
            if len(results) == len(values):
                return results
            _LOG.error("the model %s gave %d results for %d items", self.card.identity, len(results), len(values))
        failure = Internal(
            f"the model {self.card.name} failed", reason="MODEL_FAILED", metadata={"model": self.card.identity}
        )
        return [failure] * len(values)

    def _settle(self, results: Sequence[tuple[_Slot[InputT, OutputT], OutputT | CandelaError]]) -> None:
        with self._changed:
            complete = [slot.request for slot, result in results if slot.request.settle(slot.index, result)]
        for request in complete:
            request.deliver()


def _stopping(card: ModelCard) -> Unavailable:
    return Unavailable(f"the model {card.name} is not taking work", metadata={"model": card.identity})
