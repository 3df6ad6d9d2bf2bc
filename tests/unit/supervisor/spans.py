"""OTLP requests for tests."""

from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

MS = 1_000_000
T0 = 1_700_000_000_000 * MS


def trace_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def span(
    trace: int, number: int, parent: int = 0, *, name: str = "", start_ms: float = 0.0, took_ms: float = 1.0,
    links: Sequence[tuple[int, int]] = (), error: str = "", attributes: Mapping[str, str] | None = None,
) -> Span:  # fmt: skip
    start = T0 + int(start_ms * MS)
    return Span(
        trace_id=trace_id(trace),
        span_id=span_id(number),
        parent_span_id=span_id(parent) if parent else b"",
        name=name or f"span {number}",
        start_time_unix_nano=start,
        end_time_unix_nano=start + int(took_ms * MS),
        links=[Span.Link(trace_id=trace_id(to), span_id=span_id(target)) for to, target in links],
        status=Status(code=Status.STATUS_CODE_ERROR, message=error) if error else Status(),
        attributes=[KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in (attributes or {}).items()],
    )


def request(*spans: Span, service: str = "user") -> bytes:
    resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value=service))])
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)])]
    ).SerializeToString()
