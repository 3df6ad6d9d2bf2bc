"""What every call to another service carries: our trace, our remaining time, and who we are or act for.

The contract decides the identity: a method for services gets this service's own token on behalf of the user, one for
users gets the user's token passed on. Answers come back as errors of our own tree, never as the transport's.
"""

import time
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from observability import names
from observability.metrics import counter, histogram
from services.kit.access import Level
from services.kit.call import Call, current_call
from services.kit.errors import CandelaError, DeadlineExceeded, Internal
from services.kit.grpc_status import code_of, from_rpc_error
from services.kit.identity import AUTHORIZATION, ServiceIdentity, caller_authorization
from services.kit.pipeline.methods import MethodInfo, Methods

_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(slots=True)
class Outgoing:
    """One call on its way: what to send, and its span, which `finish` ends."""

    info: MethodInfo
    details: grpc.aio.ClientCallDetails
    span: trace.Span
    as_service: bool
    started: float

    def failed(self, exc: BaseException) -> CandelaError | None:
        """Return the error to raise for what the call raised, None when that should go on as it is."""
        if isinstance(exc, grpc.RpcError):
            return from_rpc_error(exc, as_service=self.as_service)
        return exc if isinstance(exc, CandelaError) else None

    def finish(self, code: grpc.StatusCode) -> None:
        """End the span and count the call."""
        seconds = time.perf_counter() - self.started
        counter(names.CLIENT_REQUESTS).labels(self.info.service, self.info.method, code.name).inc()
        histogram(names.CLIENT_DURATION).labels(self.info.service, self.info.method).observe(seconds)
        if self.span.is_recording():
            self.span.set_attribute(names.RPC_STATUS, code.name)
            if code is not grpc.StatusCode.OK:
                self.span.set_attribute(names.ERROR_TYPE, code.name)
                self.span.set_status(Status(StatusCode.ERROR, code.name))
        self.span.end()


class OutgoingCalls:
    """Prepares the calls of one channel."""

    def __init__(self, callee: str, identity: ServiceIdentity, tracer: trace.Tracer) -> None:
        self.callee = callee
        self._identity = identity
        self._tracer = tracer
        self._methods = Methods()

    def prepare(self, details: Any) -> Outgoing:
        """Return the call to make; DeadlineExceeded when the call being handled has no time left."""
        path = details.method  # bytes, whatever the type says
        info = self._methods.get(path.decode() if isinstance(path, bytes) else path)
        call = _call_being_handled()
        timeout = _time_left(details.timeout, call)
        authorization, as_service = self._authorization(info, call)
        attributes = {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: info.name, names.SERVER_ADDRESS: self.callee}
        span = self._tracer.start_span(info.name, kind=SpanKind.CLIENT, attributes=attributes)
        sent = grpc.aio.ClientCallDetails(
            details.method,
            timeout,
            _metadata(details.metadata, authorization, span),
            details.credentials,
            details.wait_for_ready,
        )
        return Outgoing(info, sent, span, as_service, time.perf_counter())

    def _authorization(self, info: MethodInfo, call: Call | None) -> tuple[str, bool]:
        """Return what to send as `authorization`, and whether it is this service's own token."""
        principal = call.principal if call else None
        level = info.access.level if info.access else Level.SERVICE
        if level is Level.PUBLIC:
            return "", False
        if level is not Level.SERVICE and principal is not None and not principal.service:
            return caller_authorization.get(), False
        return f"Bearer {self._identity.token_for(self.callee, principal)}", True


def _call_being_handled() -> Call | None:
    try:
        return current_call()
    except Internal:
        return None


def _time_left(asked: float | None, call: Call | None) -> float | None:
    if call is None or call.deadline is None:
        return asked
    remaining = call.deadline - time.monotonic()
    if remaining <= 0:
        raise DeadlineExceeded("the call's deadline passed")
    return remaining if asked is None else min(asked, remaining)


def _metadata(given: grpc.aio.Metadata | None, authorization: str, span: trace.Span) -> grpc.aio.Metadata:
    metadata = grpc.aio.Metadata(*(given or ()))
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, Context()))
    for name, value in carrier.items():
        metadata.add(name, value)
    if authorization and metadata.get(AUTHORIZATION) is None:
        metadata.add(AUTHORIZATION, authorization)
    return metadata


def code_for(error: CandelaError | None) -> grpc.StatusCode:
    """Return the code that a call is counted under; None stands for a cancellation."""
    return grpc.StatusCode.CANCELLED if error is None else code_of(error)
