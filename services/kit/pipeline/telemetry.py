"""Stage 1: one span, two metrics and one log line for each call, whatever becomes of it.

Why not opentelemetry-instrumentation-grpc: see observability/telemetry.py.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextvars import Token
from functools import cache

import grpc
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import Counter, Gauge, Histogram

from observability import names
from observability.metrics import counter, gauge, histogram
from services.kit.call import Principal
from services.kit.pipeline.methods import MethodInfo

ACCESS_LOG = logging.getLogger("candela.access")
SLOW_SECONDS = 1.0
_PROPAGATOR = TraceContextTextMapPropagator()

# Codes that mean that we failed, and not the caller (OpenTelemetry's conventions for servers).
OUR_FAULT = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


@cache
def requests_of(service: str, method: str, code: str) -> Counter:
    return counter(names.RPC_REQUESTS).labels(service, method, code)


@cache
def durations_of(service: str, method: str) -> Histogram:
    return histogram(names.RPC_DURATION).labels(service, method)


@cache
def in_flight_of(service: str) -> Gauge:
    return gauge(names.RPC_IN_FLIGHT).labels(service)


class Observation:
    """The telemetry of one call, from its arrival to `finish`. Its span is the current one in between."""

    __slots__ = (
        "_context_token",
        "_info",
        "_log",
        "_parent",
        "_started",
        "_tracer",
        "_wall",
        "principal",
        "reported",
        "request_id",
        "span",
        "trace_id",
    )

    def __init__(self, tracer: trace.Tracer, info: MethodInfo, headers: Mapping[str, str], *, log: bool = True) -> None:
        """Begin the span as a child of the caller's (`traceparent` in `headers`)."""
        self._started = time.perf_counter()
        self._wall = time.time_ns()
        self._tracer = tracer
        self._info = info
        self._log = log
        self._parent: Context | None = _PROPAGATOR.extract(headers, Context()) if "traceparent" in headers else None
        self.principal: Principal | None = None
        self.request_id = ""
        self.reported = False
        self.span = tracer.start_span(
            info.name, context=self._parent or Context(), kind=SpanKind.SERVER, attributes=self._attributes()
        )
        self.trace_id = f"{self.span.get_span_context().trace_id:032x}"
        self._context_token: Token[Context] = otel_context.attach(trace.set_span_in_context(self.span))
        in_flight_of(info.service).inc()

    def _attributes(self) -> dict[str, str | bool]:
        return {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: self._info.name}

    def finish(self, code: grpc.StatusCode, description: str = "") -> None:
        """End the span and report the call; `description` says what went wrong, for the trace only.

        The report itself is made in the loop's next turn, when the answer is on its way: callers do not wait for it.
        """
        seconds = time.perf_counter() - self._started
        asyncio.get_running_loop().call_soon(self._report, code, description, seconds)
        otel_context.detach(self._context_token)

    def _report(self, code: grpc.StatusCode, description: str, seconds: float) -> None:
        service, method = self._info.service, self._info.method
        requests_of(service, method, code.name).inc()
        durations_of(service, method).observe(seconds)
        in_flight_of(service).dec()
        if self._log and (code is not grpc.StatusCode.OK or seconds >= SLOW_SECONDS or self._info.logged):
            log_line(self._info, code, seconds, self.principal, self.request_id)
        self._end_span(code, description, seconds)
        self.reported = True

    def _end_span(self, code: grpc.StatusCode, description: str, seconds: float) -> None:
        span = self.span
        if not span.is_recording():
            if code not in OUR_FAULT and seconds < SLOW_SECONDS:
                return
            span = self._begin_late()
        span.set_attribute(names.RPC_STATUS, code.name)
        if self.request_id:
            span.set_attribute(names.REQUEST_ID, self.request_id)
        if code is not grpc.StatusCode.OK:
            span.set_attribute(names.ERROR_TYPE, code.name)
            if code in OUR_FAULT:
                span.set_status(Status(StatusCode.ERROR, description or code.name))
        span.end(self._wall + int(seconds * 1e9))

    def _begin_late(self) -> trace.Span:
        """Make the span that sampling left out: a failed or slow call is always kept."""
        parent = self._parent or trace.set_span_in_context(self.span, Context())
        attributes = self._attributes() | {names.RECORD_ALWAYS: True}
        return self._tracer.start_span(
            self._info.name, context=parent, kind=SpanKind.SERVER, attributes=attributes, start_time=self._wall
        )


def log_line(
    info: MethodInfo, code: grpc.StatusCode, seconds: float, principal: Principal | None, request_id: str
) -> None:
    """Write the access log's line of a call that took `seconds`."""
    if not ACCESS_LOG.isEnabledFor(logging.INFO):
        return
    milliseconds = round(seconds * 1000, 2)
    extra = {
        "rpc_method": info.name,
        "code": code.name,
        "duration_ms": milliseconds,
        "user_id": principal.user if principal else "",
        "request_id": request_id,
        "caller": principal.service if principal else "",
    }
    message = f"{info.name} {code.name} {milliseconds} ms"
    # Not `info()`: it would walk the stack for a line number that says nothing here, a third of the line's cost.
    ACCESS_LOG.handle(ACCESS_LOG.makeRecord(ACCESS_LOG.name, logging.INFO, __file__, 0, message, (), None, extra=extra))
