"""The stages put together for one call or one item of a coalescing stream, still without gRPC."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

from google.protobuf.message import Message
from google.rpc import status_pb2
from opentelemetry import trace

from services.kit import access
from services.kit.call import Call, Principal, handling
from services.kit.clock import Clock, SystemClock
from services.kit.grpc_status import code_from_number, to_status
from services.kit.identity import caller_authorization
from services.kit.pipeline.authentication import Authenticator
from services.kit.pipeline.deadline import Limits, time_allowed, too_late
from services.kit.pipeline.failures import as_error
from services.kit.pipeline.methods import MethodInfo, Methods
from services.kit.pipeline.requests import fingerprint_of, request_id_of
from services.kit.pipeline.telemetry import Observation
from services.kit.validation import validate

_HASH_APART_BYTES = 1024 * 1024  # above this a fingerprint is made in a thread: it would hold up every other call
T = TypeVar("T")


class Seen(Protocol):
    """What is told who the caller is."""

    principal: Principal | None


class Pipeline:
    """What every call of one server passes. The stages' order is the order of the calls in `perform`."""

    def __init__(
        self,
        *,
        tracer: trace.Tracer,
        authenticator: Authenticator,
        methods: Methods | None = None,
        limits: Limits | None = None,
        clock: Clock | None = None,
        access_log: bool = True,
    ) -> None:
        self.methods = methods or Methods()
        self.tracer = tracer
        self.limits = limits or Limits()
        self.clock: Clock = clock or SystemClock()
        self.access_log = access_log
        self._authenticator = authenticator

    def observe(self, info: MethodInfo, headers: Mapping[str, str]) -> Observation:
        """Begin the telemetry of a call; its `finish` must follow."""
        return Observation(self.tracer, info, headers, log=self.access_log)

    async def admit(self, info: MethodInfo, authorization: str, seen: Seen) -> Principal | None:
        """Return the verified caller, None where anyone may call; raises what refuses the caller."""
        principal = seen.principal = await self._authenticator.authenticate(info.access, authorization)
        await self._authenticator.admit(info, principal)
        return principal

    def holds_until(self, authorization: str) -> float | None:
        """Return when a token ends, in Unix seconds; None for what ends otherwise. Raises Unauthenticated."""
        return self._authenticator.holds_until(authorization)

    async def perform(
        self,
        info: MethodInfo,
        work: Callable[[], Awaitable[T]],
        *,
        seen: Observation,
        principal: Principal | None,
        message: Message | None,
        headers: dict[str, str],
        remaining: float | None,
        peer: str = "",
    ) -> T:
        """Validate, build the Call, and run `work` within its time; raises CandelaError and whatever `work` does.

        `message` is None when the requests are a stream, whose messages are validated as they come.
        """
        if message is not None:
            validate(message)
        allowed = time_allowed(info, remaining, self.limits)
        request_id = seen.request_id = request_id_of(info, message, headers)
        call = Call(
            method=info.path,
            principal=principal,
            request_id=request_id,
            fingerprint=await fingerprint(info, message) if request_id and message is not None else b"",
            deadline=self.clock.monotonic() + allowed,
            peer=peer,
            metadata=headers,
        )
        with handling(call):
            return await within(allowed, work)

    async def item(
        self,
        info: MethodInfo,
        message: Message,
        work: Callable[[], Awaitable[T]],
        *,
        principal: Principal | None,
        headers: dict[str, str],
        remaining: float | None,
    ) -> T | status_pb2.Status:
        """Run one item of a stream whose caller is authenticated already; a failure is returned and fails it alone."""
        seen = self.observe(info, headers)
        seen.principal = principal
        status = status_pb2.Status()
        try:
            access.check(info.access, principal, info.scope)
            return await self.perform(
                info, work, seen=seen, principal=principal, message=message, headers=headers, remaining=remaining
            )
        except asyncio.CancelledError as exc:
            status.code = 1
            if is_being_cancelled():
                raise
            status = to_status(as_error(exc, info.name), seen.trace_id)
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is, the caller is told in our own terms
            status = to_status(as_error(exc, info.name), seen.trace_id)
        finally:
            seen.finish(code_from_number(status.code), status.message)
        return status


async def within(seconds: float, work: Callable[[], Awaitable[T]]) -> T:
    """Run `work`, cancelled after `seconds` with DeadlineExceeded; a TimeoutError of its own passes unchanged."""
    timeout = asyncio.timeout(seconds)
    try:
        async with timeout:
            return await work()
    except TimeoutError:
        if timeout.expired():
            raise too_late() from None
        raise


def is_being_cancelled() -> bool:
    """Say whether a CancelledError means this very task, and not a task that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def act_as_caller(authorization: str) -> None:
    """Let calls to other services made in this task pass the caller's own token on."""
    caller_authorization.set(authorization)


async def fingerprint(info: MethodInfo, message: Message) -> bytes:
    """Return the request's fingerprint; a large one is made in a thread."""
    if message.ByteSize() < _HASH_APART_BYTES:
        return fingerprint_of(info, message)
    return await asyncio.to_thread(fingerprint_of, info, message)
