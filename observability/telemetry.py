"""OpenTelemetry tracing of one process: provider, sampling, export.

Server spans are made by the kit's own stage (services/kit/pipeline/telemetry.py) and not by
opentelemetry-instrumentation-grpc: a recorded span costs about 45 µs of CPU in Python, so there is one a call and no
more, and the library's aio interceptors mistake an abort for an unexpected exception and miss streams that are aborted.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from observability import names

_FLUSH_MILLISECONDS = 500  # a trace shows within a second
_EXPORT_TIMEOUT_SECONDS = 1
_QUEUED_SPANS = 8192
_BATCHED_SPANS = 512


class RecordAlways(Sampler):
    """Samples as another sampler does, and whatever carries names.RECORD_ALWAYS: failed and slow calls."""

    def __init__(self, usual: Sampler) -> None:
        self._usual = usual

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if attributes and names.RECORD_ALWAYS in attributes:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)
        return self._usual.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"RecordAlways({self._usual.get_description()})"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The tracing of one process. `tracer` makes its spans."""

    provider: TracerProvider
    tracer: trace.Tracer

    def close(self) -> None:
        """Send what is queued, for at most a few seconds, and stop."""
        self.provider.shutdown()


def start_telemetry(
    service: str, *, endpoint: str = "", ratio: float = 1.0, processors: Sequence[SpanProcessor] = ()
) -> Telemetry:
    """Set tracing up for one process.

    `endpoint` receives OTLP over gRPC (`host:port` or an http(s) URL; empty for none). `ratio` is the part of new
    traces that is recorded; a trace that began elsewhere keeps the decision made there. `processors` see every span.
    """
    resource = Resource.create(
        {
            names.SERVICE_NAME: service,
            names.SERVICE_NAMESPACE: names.NAMESPACE,
            names.SERVICE_INSTANCE: f"{os.uname().nodename}-{os.getpid()}",
        }
    )
    sampler = RecordAlways(ParentBased(TraceIdRatioBased(ratio)))
    provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    if endpoint:
        provider.add_span_processor(_exporting(endpoint))
    return Telemetry(provider, provider.get_tracer("candela"))


def make_global(telemetry: Telemetry) -> None:
    """Let `trace.get_tracer` anywhere in the process make this telemetry's spans. Once per process."""
    trace.set_tracer_provider(telemetry.provider)


def _exporting(endpoint: str) -> SpanProcessor:
    # A receiver that is down is a fact of life and no reason to fill the log: spans are dropped quietly.
    for noisy in ("opentelemetry.exporter.otlp.proto.grpc.exporter", "opentelemetry.sdk._shared_internal"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(
        endpoint=endpoint, insecure=not endpoint.startswith("https://"), timeout=_EXPORT_TIMEOUT_SECONDS
    )
    return BatchSpanProcessor(
        exporter,
        max_queue_size=_QUEUED_SPANS,
        schedule_delay_millis=_FLUSH_MILLISECONDS,
        max_export_batch_size=_BATCHED_SPANS,
    )


def current_trace_id() -> str:
    """Return the trace id of the current span in hex, empty outside of one."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""
