"""What happens to spans that arrive: checked, bounded, written to the journal. Nothing a sender does stops this.

Memory is a table of recent trace ids and how many spans each has, some 100 bytes a trace.
"""

from collections import OrderedDict
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from supervisor.traces.journal import JournalWriter

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
_MAX_SPAN_BYTES = 64 * 1024


class MalformedRequestError(Exception):
    """The bytes are no ExportTraceServiceRequest."""


@dataclass(slots=True)
class IngestCounts:
    """What arrived since the start."""

    spans: int = 0
    refused: int = 0
    lost: int = 0
    """Accepted, but the disk was full."""


class TraceIngest:
    """Takes OTLP requests as bytes."""

    def __init__(self, journal: JournalWriter, *, max_traces: int = 1000, max_spans_per_trace: int = 512) -> None:
        self.counts = IngestCounts()
        self._journal = journal
        self._max_traces = max_traces
        self._max_spans = max_spans_per_trace
        self._spans_of: OrderedDict[bytes, int] = OrderedDict()

    @property
    def known_traces(self) -> int:
        """How many recent traces the table holds."""
        return len(self._spans_of)

    def take(self, raw: bytes) -> int:
        """Keep the spans of one request and return how many were refused.

        Refused are spans without proper ids, spans above 64 KiB, and those beyond 512 of one trace. Raises
        MalformedRequestError when the bytes cannot be read at all.
        """
        try:
            request = ExportTraceServiceRequest.FromString(raw)
        except DecodeError as error:
            raise MalformedRequestError("not an ExportTraceServiceRequest") from error
        new_traces = kept = refused = 0
        for scope in (scope for resource in request.resource_spans for scope in resource.scope_spans):
            accepted = [span for span in scope.spans if self._acceptable(span)]
            for span in accepted:
                new_traces += self._count(span.trace_id)
            kept += len(accepted)
            if len(accepted) < len(scope.spans):
                refused += len(scope.spans) - len(accepted)
                del scope.spans[:]
                scope.spans.extend(accepted)
        self.counts.refused += refused
        if kept:
            self._write(raw if not refused else request.SerializeToString(), new_traces, kept)
        return refused

    def _write(self, request: bytes, new_traces: int, spans: int) -> None:
        try:
            self._journal.append(request, new_traces)
            self.counts.spans += spans
        except OSError:
            self.counts.lost += spans

    def _acceptable(self, span: Span) -> bool:
        return (
            len(span.trace_id) == TRACE_ID_BYTES
            and len(span.span_id) == SPAN_ID_BYTES
            and self._spans_of.get(span.trace_id, 0) < self._max_spans
            and span.ByteSize() <= _MAX_SPAN_BYTES
        )

    def _count(self, trace_id: bytes) -> int:
        """Count one span of a trace; return 1 when it is the trace's first, otherwise 0."""
        known = self._spans_of.get(trace_id, 0)
        self._spans_of[trace_id] = known + 1
        if len(self._spans_of) > self._max_traces:
            self._spans_of.popitem(last=False)
        return 0 if known else 1
