"""Telemetry of the items of coalescing streams: the metrics and spans of unary calls, at a price that items can pay.

Counts are summed up over a turn of the loop. A span is made for an item whose caller traces it, for a small part of the
others, and afterwards for every item that failed by our fault or was slow. Only items that fail get a log line: one
costs more than an item does.
"""

import asyncio
import random
import time
from dataclasses import dataclass

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from observability import names
from observability.metrics import counter, histogram
from services.kit.call import Principal
from services.kit.pipeline.methods import MethodInfo
from services.kit.pipeline.telemetry import OUR_FAULT, SLOW_SECONDS, in_flight_of, log_line

_IDS = RandomIdGenerator()
_TRACEPARENT_PARTS = 4
_NOT_SAMPLED = frozenset("02468aceACE")  # last digits of the flags, whose lowest bit says it
_OK = grpc.StatusCode.OK


def parse_traceparent(text: str) -> SpanContext | None:
    """Return the caller's span, None when `text` is no W3C traceparent."""
    parts = text.split("-")
    if len(parts) < _TRACEPARENT_PARTS or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None
    try:
        trace_id, span_id, flags = (int(part, 16) for part in parts[1:4])
    except ValueError:
        return None
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & TraceFlags.SAMPLED))
    return context if context.is_valid else None


class Tally:
    """Sums calls up by method and code, and tells the metrics once in a turn of the loop."""

    def __init__(self, requests: names.Metric, durations: names.Metric, *, in_flight: bool = False) -> None:
        self._requests = requests
        self._durations = durations
        self._in_flight = in_flight
        self._good: dict[str, tuple[MethodInfo, list[float]]] = {}
        self._bad: list[tuple[MethodInfo, grpc.StatusCode, float]] = []
        self._scheduled = False

    def good(self, info: MethodInfo, seconds: float) -> None:
        """Count a call that was answered well."""
        if info.path in self._good:
            self._good[info.path][1].append(seconds)
        else:
            self._good[info.path] = (info, [seconds])
            self._schedule()

    def add(self, info: MethodInfo, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that ended."""
        if code is _OK:
            self.good(info, seconds)
        else:
            self._bad.append((info, code, seconds))
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Tell the metrics."""
        self._scheduled = False
        good, self._good = self._good, {}
        bad, self._bad = self._bad, []
        for info, taken in good.values():
            self._tell(info, _OK, taken)
        for info, code, seconds in bad:
            self._tell(info, code, [seconds])

    def _tell(self, info: MethodInfo, code: grpc.StatusCode, taken: list[float]) -> None:
        service, method = info.service, info.method
        counter(self._requests).labels(service, method, code.name).inc(len(taken))
        observe = histogram(self._durations).labels(service, method).observe
        for seconds in taken:
            observe(seconds)
        if self._in_flight:
            in_flight_of(service).dec(len(taken))


@dataclass(slots=True, eq=False)
class ItemTrace:
    """What is known of an item for its trace. `span` is there from the start when it is sampled."""

    info: MethodInfo
    parent: SpanContext | None = None
    span: trace.Span | None = None


class ItemTelemetry:
    """Spans, metrics and log lines of one door's items."""

    def __init__(self, tracer: trace.Tracer, *, sampled: float, log: bool, log_all: bool) -> None:
        """Begin a trace for the part `sampled` of items that come without one."""
        self._tracer = tracer
        self._sampled = sampled
        self._log = log
        self._log_all = log and log_all
        self._tally = Tally(names.RPC_REQUESTS, names.RPC_DURATION, in_flight=True)

    def begin(self, info: MethodInfo, traceparent: str) -> ItemTrace | None:
        """Return the trace of a new item, None for one that is not sampled.

        The text of a caller's trace that is not sampled is not read before `with_trace` needs it.
        """
        if not traceparent:
            if random.random() >= self._sampled:  # noqa: S311 - which ones are recorded is no secret
                return None
            return _trace(info, self._start(info, None, {}))
        if traceparent[-1] in _NOT_SAMPLED:
            return None
        parent = parse_traceparent(traceparent)
        return None if parent is None else _trace(info, self._start(info, parent, {}))

    def good(self, info: MethodInfo, seen: ItemTrace | None, seconds: float) -> bool:
        """Count an item that was answered well, when no more than that is to be told of it; say whether."""
        if seen is not None or seconds >= SLOW_SECONDS or self._log_all:
            return False
        self._tally.good(info, seconds)
        return True

    def end(
        self,
        info: MethodInfo,
        seen: ItemTrace | None,
        code: grpc.StatusCode,
        seconds: float,
        *,
        principal: Principal | None,
        request_id: str,
        description: str = "",
    ) -> None:
        """Report an item that ended."""
        self._tally.add(info, code, seconds)
        if self._log and (code is not _OK or self._log_all):
            log_line(info, code, seconds, principal, request_id)
        span = seen.span if seen else None
        if span is None:
            if code not in OUR_FAULT and seconds < SLOW_SECONDS:
                return
            began = time.time_ns() - int(seconds * 1e9)
            parent = seen.parent if seen else None
            span = self._start(info, parent, {names.RECORD_ALWAYS: True}, began)
        _finish(span, code, request_id, description)

    def _start(
        self, info: MethodInfo, parent: SpanContext | None, more: dict[str, bool], began: int | None = None
    ) -> trace.Span:
        context = trace.set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context()
        attributes: dict[str, str | bool] = {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: info.name, **more}
        return self._tracer.start_span(
            info.name, context=context, kind=SpanKind.SERVER, attributes=attributes, start_time=began
        )


def _trace(info: MethodInfo, span: trace.Span) -> ItemTrace:
    """Return the trace that a new span belongs to; one that the tracer does not record is only what it would be in."""
    return ItemTrace(info, None, span) if span.is_recording() else ItemTrace(info, span.get_span_context())


def _finish(span: trace.Span, code: grpc.StatusCode, request_id: str, description: str) -> None:
    if span.is_recording():
        span.set_attribute(names.RPC_STATUS, code.name)
        if request_id:
            span.set_attribute(names.REQUEST_ID, request_id)
        if code is not _OK:
            span.set_attribute(names.ERROR_TYPE, code.name)
            if code in OUR_FAULT:
                span.set_status(Status(StatusCode.ERROR, description or code.name))
    span.end()


def with_trace(seen: ItemTrace | None, info: MethodInfo, traceparent: str) -> ItemTrace:
    """Return the trace of an item that is about to need one, for its report or for calls of its own.

    That is the caller's, or a new one. A new one is not sampled: what happens inside an item that is not recorded is
    not either.
    """
    if seen is not None:
        return seen
    made = parse_traceparent(traceparent) or SpanContext(
        _IDS.generate_trace_id(), _IDS.generate_span_id(), is_remote=False
    )
    return ItemTrace(info, made, None)


def span_of(seen: ItemTrace) -> trace.Span:
    """Return the span that an item's work runs in."""
    return seen.span or NonRecordingSpan(seen.parent or trace.INVALID_SPAN_CONTEXT)
