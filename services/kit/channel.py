"""Channels to other services, used with the generated asynchronous stubs.

A call on a channel waits a moment for its connection while the other side restarts, and is never sent twice: gRPC only
re-sends what the other side cannot have seen. Several addresses are used in turn (round robin).
"""

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
from opentelemetry import trace

from services.kit.errors import Unavailable
from services.kit.grpc_options import client_options
from services.kit.identity import ServiceIdentity
from services.kit.outgoing import Outgoing, OutgoingCalls, code_for

_CONNECT_SECONDS = 3.0
_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def target_of(addresses: Sequence[str]) -> str:
    """Return the gRPC target that reaches all addresses; ValueError when they cannot be one target."""
    if not addresses:
        raise ValueError("a channel needs an address")
    if len(addresses) == 1:
        return addresses[0]
    versions = {_ip_version(address) for address in addresses}
    if len(versions) != 1 or 0 in versions:
        raise ValueError(
            f"several addresses must all be IPv4 or all IPv6 (or use one DNS name): {', '.join(addresses)}"
        )
    return f"ipv{versions.pop()}:{','.join(addresses)}"


def _ip_version(address: str) -> int:
    try:
        return ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).version
    except ValueError:
        return 0


@asynccontextmanager
async def open_channel(
    callee: str,
    addresses: Sequence[str],
    identity: ServiceIdentity,
    tracer: trace.Tracer,
    credentials: grpc.ChannelCredentials | None = None,
) -> AsyncIterator[grpc.aio.Channel]:
    """Give a channel to the service `callee`; nothing is connected before the first call.

    Calls raise CandelaError: what the other service answered, Unavailable when it cannot be reached.
    """
    calls = OutgoingCalls(callee, identity, tracer)
    connection = _Connection()
    interceptors = [kind(calls, connection) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
    target = target_of(addresses)
    options = client_options(_SERVICE_CONFIG)
    if len(addresses) > 1:
        options.append(("grpc.default_authority", callee))
    if credentials is None:
        channel = grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    else:
        channel = grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)
    connection.channel = channel
    try:
        yield channel
    finally:
        await channel.close()


class _Connection:
    """Lets calls wait for a connection that is being made, instead of failing while the other side restarts."""

    channel: grpc.aio.Channel

    async def ready(self, timeout: float | None) -> None:
        """Return when connected; raises Unavailable after 3 s, or after `timeout` seconds if that is less."""
        state = self.channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return
        wait = _CONNECT_SECONDS if timeout is None else min(timeout, _CONNECT_SECONDS)
        try:
            async with asyncio.timeout(wait):
                while state is not grpc.ChannelConnectivity.READY:
                    await self.channel.wait_for_state_change(state)
                    state = self.channel.get_state(try_to_connect=True)
        except TimeoutError:
            raise Unavailable("a part that the answer needs cannot be reached", retry_after=1.0) from None


class _Interceptor:
    """The work that the four shapes share. (grpc.aio takes a class that has all four shapes for its first one only.)"""

    def __init__(self, calls: OutgoingCalls, connection: _Connection) -> None:
        self._calls = calls
        self._connection = connection

    async def _single(self, proceed: Callable[..., Any], details: grpc.aio.ClientCallDetails, request: Any) -> Any:
        """Make a call with one reply and return it done."""
        outgoing = self._calls.prepare(details)
        code = grpc.StatusCode.CANCELLED
        try:
            await self._connection.ready(outgoing.details.timeout)
            call = await proceed(outgoing.details, request)
            await call
            code = grpc.StatusCode.OK
            return call
        except Exception as exc:
            error = outgoing.failed(exc)
            code = code_for(error) if error else grpc.StatusCode.UNKNOWN
            if error is None or error is exc:
                raise
            raise error from exc
        finally:
            outgoing.finish(code)

    async def _replies(
        self, proceed: Callable[..., Any], details: grpc.aio.ClientCallDetails, request: Any
    ) -> AsyncIterator[Any]:
        """Make a call with a stream of replies and yield them; leaving the stream early cancels the call."""
        outgoing: Outgoing = self._calls.prepare(details)
        code, call = grpc.StatusCode.CANCELLED, None
        try:
            await self._connection.ready(outgoing.details.timeout)
            call = await proceed(outgoing.details, request)
            async for reply in call:
                yield reply
            code = grpc.StatusCode.OK
        except Exception as exc:
            error = outgoing.failed(exc)
            code = code_for(error) if error else grpc.StatusCode.UNKNOWN
            if error is None or error is exc:
                raise
            raise error from exc
        finally:
            if call is not None and code is grpc.StatusCode.CANCELLED:
                with suppress(asyncio.CancelledError):
                    call.cancel()
            outgoing.finish(code)


class _UnaryUnary(_Interceptor, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._single(continuation, client_call_details, request)


class _StreamUnary(_Interceptor, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._single(continuation, client_call_details, request_iterator)


class _UnaryStream(_Interceptor, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self._replies(continuation, client_call_details, request)


class _StreamStream(_Interceptor, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return self._replies(continuation, client_call_details, request_iterator)
