"""What a model's engine tells the outside: Prometheus metrics of one model, and one span for each batch."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, Status, StatusCode, Tracer

from inference_server import names
from observability.metrics import counter, gauge, histogram


@dataclass(slots=True)
class BatchReport:
    """What is known of a batch when it ends; the engine fills it in. Times are in seconds."""

    waits: Sequence[float]
    compute: float = 0.0
    failed: int = 0


class Reporter:
    """Reports about one model, named `name@version`."""

    def __init__(self, model: str, tracer: Tracer) -> None:
        self._model = model
        self._tracer = tracer
        self._queue = histogram(names.QUEUE_SECONDS).labels(model)
        self._sizes = histogram(names.BATCH_ITEMS).labels(model)
        self._compute = histogram(names.COMPUTE_SECONDS).labels(model)
        self._waiting = gauge(names.WAITING).labels(model)

    def waiting(self, items: int) -> None:
        self._waiting.set(items)

    def refused(self, reason: str) -> None:
        counter(names.REFUSALS).labels(self._model, reason).inc()

    def ended(self, outcome: str, items: int) -> None:
        """Count items that came to an end: done, failed, expired or cancelled."""
        if items:
            counter(names.ITEMS).labels(self._model, outcome).inc(items)

    @contextmanager
    def batch(self, requests: Iterable[SpanContext], report: BatchReport) -> Iterator[None]:
        """Make the batch's span around the block, and count the batch when the block has filled `report` in."""
        span = self._span([context for context in requests if context.is_valid])
        try:
            yield
        finally:
            self._finish(span, report)

    def _span(self, requests: Sequence[SpanContext]) -> Span:
        # The parent decides whether the span is recorded at all: one request that is traced is enough.
        parent = next((one for one in requests if one.trace_flags.sampled), requests[0] if requests else None)
        context = trace.set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context()
        return self._tracer.start_span(names.BATCH_SPAN, context=context, links=[Link(one) for one in requests])

    def _finish(self, span: Span, report: BatchReport) -> None:
        size = len(report.waits)
        if span.is_recording():
            span.set_attributes(
                {
                    names.MODEL: self._model,
                    names.BATCH_SIZE: size,
                    names.FAILED_ITEMS: report.failed,
                    names.QUEUE_MS: round(max(report.waits) * 1000, 3),
                    names.COMPUTE_MS: round(report.compute * 1000, 3),
                }
            )
            if report.failed == size:
                span.set_status(Status(StatusCode.ERROR, "every item failed"))
        span.end()
        for wait in report.waits:
            self._queue.observe(wait)
        self._sizes.observe(size)
        self._compute.observe(report.compute)
        self.ended("failed", report.failed)
        self.ended("done", size - report.failed)
