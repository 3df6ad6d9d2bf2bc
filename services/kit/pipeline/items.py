"""The stages for the items of a coalescing stream: what the contract says of a method is worked out once for each.

An item passes the same functions as a unary call, in the same order. A stream's caller is authenticated with the
stream; everything else is done for each item, as plain calls: a task, a coroutine or a context for each would cost more
than the item. Measured: 3 to 5 µs of CPU for an item that is admitted and not sampled.
"""

import time
from abc import ABC, abstractmethod
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from services.kit import access
from services.kit.call import Principal
from services.kit.pipeline.core import Pipeline
from services.kit.pipeline.deadline import Limits, time_allowed
from services.kit.pipeline.methods import MethodInfo
from services.kit.pipeline.requests import IDEMPOTENCY_KEY, request_id_of
from services.kit.pipeline.telemetry import in_flight_of, log_line, requests_of
from services.kit.validation import has_rules, validate

_NO_HEADERS: dict[str, str] = {}


class ItemMethod:
    """One method as a member of a stream's calls."""

    __slots__ = ("_has_rules", "_limits", "_takes_request_id", "info")

    def __init__(self, info: MethodInfo, request: Descriptor, limits: Limits) -> None:
        self.info = info
        self._limits = limits
        self._has_rules = has_rules(request)
        self._takes_request_id = not info.read_only

    def admit(self, principal: Principal) -> None:
        """Refuse a caller whom the method is not open to; see access.check."""
        access.check(self.info.access, principal, self.info.scope)

    def check(self, request: Message) -> None:
        """Validate a request; a type without a single rule is not looked at, which saves its 3 µs."""
        if self._has_rules:
            validate(request)

    def time_allowed(self, remaining: float | None) -> float:
        """Return the seconds that an item has; DeadlineExceeded when none are left."""
        return time_allowed(self.info, remaining, self._limits)

    def request_id(self, request: Message, from_context: str) -> str:
        """Return the item's idempotency key, empty without one; `from_context` stands for the header."""
        if not self._takes_request_id:
            return ""
        return request_id_of(self.info, request, {IDEMPOTENCY_KEY: from_context} if from_context else _NO_HEADERS)


class StreamObservation:
    """The telemetry of a coalescing stream itself: one count and one log line when it ends.

    It has no span and no duration: it lives for as long as its two processes like, and its items have theirs.
    """

    trace_id = ""
    request_id = ""

    def __init__(self, info: MethodInfo, *, log: bool) -> None:
        self.principal: Principal | None = None
        self._info = info
        self._log = log
        self._started = time.perf_counter()
        in_flight_of(info.service).inc()

    def finish(self, code: grpc.StatusCode, description: str = "") -> None:
        """Count the stream as ended."""
        requests_of(self._info.service, self._info.method, code.name).inc()
        in_flight_of(self._info.service).dec()
        if self._log:
            log_line(self._info, code, time.perf_counter() - self._started, self.principal, "")


class ItemStreams(ABC):
    """What serves a coalescing stream. A method whose behaviour is bound to one is handed over as it is.

    Its messages are not validated as a whole, since one bad item fails alone, and no limit of time cuts it: it ends
    itself in order.
    """

    @abstractmethod
    def attach(self, pipeline: Pipeline) -> None:
        """Learn what items pass; called before the first stream, maybe more than once."""

    @abstractmethod
    async def serve(self, context: Any, principal: Principal, authorization: str) -> None:
        """Serve one stream whose caller was admitted to it; raises what ends it with an error."""
