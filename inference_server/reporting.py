"""What a model's engine tells the outside: numbers for statistics and Prometheus, and a span for each sampled batch.

The engine calls it on the loop thread only, with everything that it knows of a batch once the batch is over. What it
costs measures tests/bench/reporting_cost.py: 0.2 µs an item in batches of 32.
"""

import weakref
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, Tracer

from inference_server import names
from inference_server.exposition import EXPOSITION
from inference_server.models.model import ModelCard
from inference_server.statistics import BatchRecord, Best, ModelStatistics, Tally

__all__ = ["BatchRecord", "ModelStatistics", "Reporter"]

_SAMPLED = int(TraceFlags.SAMPLED)
_NS = 1_000_000_000


class Reporter:
    """Reports about one loaded model. Not thread-safe."""

    def __init__(self, card: ModelCard, tracer: Tracer) -> None:
        """Count from zero, under the model's identity on the metrics page, until the reporter is closed or gone."""
        self._tracer = tracer
        self._tally = tally = Tally(card.identity)
        EXPOSITION.add(tally)
        weakref.finalize(self, tally.close).atexit = False

    def ask_best(self, best: Best) -> None:
        """Learn what the cost model holds for the best size of a batch."""
        self._tally.best = best

    def waiting(self, items: int, size: int) -> None:
        """Tell how many items wait now, and how many bytes their inputs have."""
        self._tally.waiting_items = items
        self._tally.waiting_bytes = size

    def refused(self, reason: str, tenant: str, items: int = 1) -> None:
        """Count a request of so many items that was not let in."""
        self._tally.refused(reason, tenant, items)

    def ended(self, outcome: str, tenant: str, items: int) -> None:
        """Count items of a tenant that ended outside of a batch, by one of names.OUTCOMES.

        `batch` counts the others: what it says of done and failed items is not to be said again.
        """
        if items:
            self._tally.ended(outcome, tenant, items)

    def batch(self, record: BatchRecord) -> None:
        """Count a batch of at least one item that is over, and make its span if a request in it is sampled."""
        self._tally.batch(record)
        sampled = {context.span_id: context for context in record.spans if context.trace_flags & _SAMPLED}
        if sampled:
            self._record_span(record, list(sampled.values()))

    def statistics(self) -> ModelStatistics:
        """Return what was counted so far."""
        return self._tally.statistics()

    def close(self) -> None:
        """Count nothing more: the model is unloaded. Its counters stay on the metrics page, its gauges go to zero."""
        self._tally.close()

    def _record_span(self, record: BatchRecord, requests: Sequence[SpanContext]) -> None:
        size = len(record.waits)
        attributes: dict[str, str | int | float] = {
            names.MODEL: self._tally.model,
            names.BATCH_SIZE: size,
            names.FAILED_ITEMS: record.failed,
            names.QUEUE_MS: round(max(record.waits) * 1000, 3),
            names.COMPUTE_MS: round(record.compute * 1000, 3),
            names.SHAPE: str(record.bucket),
            names.TENANTS: len(record.tenants),
            names.INSTANCE: record.instance,
        }
        if best := self._tally.best_size(record.bucket):
            attributes[names.BEST_SIZE] = best
        span = self._tracer.start_span(
            names.BATCH_SPAN,
            context=trace.set_span_in_context(NonRecordingSpan(requests[0]), Context()),
            links=[Link(request) for request in requests],
            attributes=attributes,
            start_time=record.began_ns,
        )
        if record.failed == size:
            span.set_status(Status(StatusCode.ERROR, "every item failed"))
        span.end(record.began_ns + round(record.compute * _NS))
