"""The traces in memory, for showing them: read from the journal, bounded as the journal's promise is."""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from supervisor.traces.journal import JournalReader

_MAX_ATTRIBUTE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Link:
    """A reference from a span to a span of this or another trace."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One span as it is shown. Ids are lower-case hex; times are nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the root."""
    name: str
    service: str
    start: int
    end: int
    failed: bool
    status_message: str
    attributes: dict[str, str]
    links: tuple[Link, ...]


@dataclass(slots=True)
class Trace:
    """All spans known of one trace, by span id, in the order they arrived."""

    trace_id: str
    spans: dict[str, SpanRecord] = field(default_factory=dict)

    @property
    def start(self) -> int:
        return min(span.start for span in self.spans.values())

    @property
    def end(self) -> int:
        return max(span.end for span in self.spans.values())

    @property
    def failed(self) -> bool:
        return any(span.failed for span in self.spans.values())

    @property
    def root(self) -> SpanRecord:
        """The span without a parent; while that is still on its way, the earliest one."""
        roots = [span for span in self.spans.values() if not span.parent_id]
        return min(roots or self.spans.values(), key=lambda span: span.start)


class TraceStore:
    """The last traces, oldest first. A late span joins its trace; a trace that was dropped does not come back whole."""

    def __init__(self, *, max_traces: int = 1000, max_spans_per_trace: int = 512) -> None:
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._max_traces = max_traces
        self._max_spans = max_spans_per_trace

    def add(self, raw: bytes) -> None:
        """Take the spans of one ExportTraceServiceRequest; bytes that are none are ignored."""
        try:
            request = ExportTraceServiceRequest.FromString(raw)
        except DecodeError:
            return
        for resource in request.resource_spans:
            service = next(
                (kv.value.string_value for kv in resource.resource.attributes if kv.key == "service.name"), ""
            )
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._add(_record(span, service))

    def latest(self, count: int) -> list[Trace]:
        """Return the newest traces, newest first."""
        return sorted(self._traces.values(), key=lambda trace: trace.start, reverse=True)[:count]

    def find(self, prefix: str) -> list[Trace]:
        """Return the traces whose id begins with the hex digits."""
        wanted = prefix.lower()
        return [trace for trace_id, trace in self._traces.items() if trace_id.startswith(wanted)]

    def linking_to(self, trace: Trace) -> list[SpanRecord]:
        """Return the spans of other traces with a link to a span of this one, such as the batch that served it."""
        return [
            span
            for other in self._traces.values()
            if other.trace_id != trace.trace_id
            for span in other.spans.values()
            if any(link.trace_id == trace.trace_id and link.span_id in trace.spans for link in span.links)
        ]

    def __len__(self) -> int:
        return len(self._traces)

    def _add(self, span: SpanRecord) -> None:
        trace = self._traces.setdefault(span.trace_id, Trace(span.trace_id))
        if len(trace.spans) < self._max_spans:
            trace.spans.setdefault(span.span_id, span)
        if len(self._traces) > self._max_traces:
            self._traces.popitem(last=False)


class StoredTraces:
    """The store of a data directory, brought up to date with every `refresh`."""

    def __init__(self, directory: Path) -> None:
        self._reader = JournalReader(directory)
        self.store = TraceStore()

    def refresh(self) -> TraceStore:
        """Read what arrived since the last time and return the store."""
        for raw in self._reader.new_requests():
            self.store.add(raw)
        return self.store


def _record(span: Span, service: str) -> SpanRecord:
    return SpanRecord(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if span.parent_span_id.strip(b"\0") else "",
        name=span.name,
        service=service,
        start=span.start_time_unix_nano,
        end=max(span.end_time_unix_nano, span.start_time_unix_nano),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        status_message=span.status.message[:_MAX_ATTRIBUTE_CHARACTERS],
        attributes={kv.key: _text(kv) for kv in span.attributes},
        links=tuple(Link(link.trace_id.hex(), link.span_id.hex()) for link in span.links),
    )


def _text(attribute: KeyValue) -> str:
    return _value(attribute.value)[:_MAX_ATTRIBUTE_CHARACTERS]


def _value(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    match kind:
        case "bool_value":
            return str(value.bool_value).lower()
        case "array_value":
            return ", ".join(_value(item) for item in value.array_value.values[:16])
        case "kvlist_value":
            return f"{{{len(value.kvlist_value.values)} entries}}"
        case None:
            return ""
        case _:
            return str(getattr(value, kind))
