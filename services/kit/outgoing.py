"""What every call to another service carries: our trace, our remaining time, and who we are or act for.

The contract decides the identity: a method for services gets this service's own token on behalf of the user, one for
users gets the user's token passed on. Answers come back as errors of our own tree, never as the transport's.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
    timeout: float | None
    metadata: grpc.aio.Metadata
    span: trace.Span
    as_service: bool
    started: float

    def time_left(self) -> float | None:
        """Return how many seconds are left of the call's time, None when it has no bound."""
        return None if self.timeout is None else max(0.0, self.timeout - (time.perf_counter() - self.started))

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Make the call inside the block: its failure is raised as an error of our tree, its span and counts end."""
        code = grpc.StatusCode.CANCELLED
        try:
            yield
            code = grpc.StatusCode.OK
        except grpc.RpcError as exc:
            error = from_rpc_error(exc, as_service=self.as_service)
            code = code_of(error)
            raise error from exc
        except CandelaError as exc:
            code = code_of(exc)
            raise
        finally:
            self._finish(code)

    def _finish(self, code: grpc.StatusCode) -> None:
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

    def prepare(self, path: str, timeout: float | None, metadata: Iterable[Any] | None) -> Outgoing:
        """Return the call to make; DeadlineExceeded when the call being handled has no time left."""
        info = self._methods.get(path)
        call = _call_being_handled()
        timeout = _time_left(timeout, call)
        authorization, as_service = self._authorization(info, call)
        attributes = {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: info.name, names.SERVER_ADDRESS: self.callee}
        span = self._tracer.start_span(info.name, kind=SpanKind.CLIENT, attributes=attributes)
        sent = _metadata(metadata, authorization, span)
        return Outgoing(info, timeout, sent, span, as_service, time.perf_counter())

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


def _metadata(given: Iterable[Any] | None, authorization: str, span: trace.Span) -> grpc.aio.Metadata:
    metadata = grpc.aio.Metadata(*(given or ()))
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, Context()))
    for name, value in carrier.items():
        metadata.add(name, value)
    if authorization and metadata.get(AUTHORIZATION) is None:
        metadata.add(AUTHORIZATION, authorization)
    return metadata
