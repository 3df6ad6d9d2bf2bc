"""Channels to other services, used with the generated asynchronous stubs.

A call on a channel waits a moment for its connection while the other side restarts. Several addresses, or those that
one DNS name gives, are used in turn (round robin); one that says NOT_SERVING is left out. gRPC re-sends what the other
side cannot have seen; what it may have seen is sent again only to another of several, and only when the contract says
that the method has no side effects.

The channel wraps gRPC's own instead of giving it interceptors: those cost a task a call, and one that answers
with an iterator leaves a call behind whose destructor raises.
"""

import asyncio
import ipaddress
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import grpc
from opentelemetry import trace

from services.kit.errors import Unavailable
from services.kit.grpc_options import Options, client_options
from services.kit.identity import ServiceIdentity
from services.kit.outgoing import OutgoingCalls

_CONNECT_SECONDS = 3.0
_ATTEMPTS = 3  # of a call without side effects, where there are several servers
_ONE = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
# The health of the whole server is watched, so that one that drains gets no new calls before it refuses them.
_SEVERAL = json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})


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


def may_be_several(addresses: Sequence[str]) -> bool:
    """Say whether more than one server may be behind the addresses: there are several, or it is a DNS name."""
    address = addresses[0]
    one = address.startswith(("unix:", "localhost:")) or _ip_version(address) != 0
    return len(addresses) > 1 or not one


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
    target = target_of(addresses)
    several = may_be_several(addresses)
    options = client_options(_SEVERAL if several else _ONE)
    if len(addresses) > 1:
        options.append(("grpc.default_authority", callee))
    async with _dialled(target, credentials, options) as inner:
        yield MeshChannel(inner, OutgoingCalls(callee, identity, tracer), attempts=_ATTEMPTS if several else 1)


def replica_channel(
    address: str, credentials: grpc.ChannelCredentials | None = None, authority: str = ""
) -> grpc.aio.Channel:
    """Return a plain channel to one server; `authority` is the name its certificate is for, if not its address."""
    options = client_options(_ONE)
    if authority:
        options.append(("grpc.default_authority", authority))
    return _dialled(address, credentials, options)


def _dialled(target: str, credentials: grpc.ChannelCredentials | None, options: Options) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)


class MeshChannel(grpc.aio.Channel):
    """A channel whose calls carry trace, time and identity and raise our own errors.

    A call with one reply is awaited; one with a stream of replies is iterated (`Replies`), and starts when it is.
    """

    def __init__(self, inner: grpc.aio.Channel, calls: OutgoingCalls, *, attempts: int = 1) -> None:
        """Send a call without side effects up to `attempts` times while it is answered UNAVAILABLE."""
        self._inner = inner
        self._calls = calls
        self._attempts = attempts

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        return self._single(method, self._inner.unary_unary(method, *serializers, **options))

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        return self._single(method, self._inner.stream_unary(method, *serializers, **options))

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        return self._many(method, self._inner.unary_stream(method, *serializers, **options))

    def stream_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        return self._many(method, self._inner.stream_stream(method, *serializers, **options))

    def _single(self, method: str, proceed: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(
            request: Any, *, timeout: float | None = None, metadata: Iterable[Any] | None = None, **options: Any
        ) -> Any:
            outgoing = self._calls.prepare(method, timeout, metadata)
            attempts = self._attempts if outgoing.info.read_only and not outgoing.info.request_streaming else 1
            with outgoing.under_way():
                for attempt in range(1, attempts + 1):
                    await self._connected(outgoing.time_left())
                    try:
                        timeout = outgoing.time_left()
                        return await proceed(request, timeout=timeout, metadata=outgoing.metadata, **options)
                    except grpc.RpcError as exc:
                        if attempt == attempts or exc.code() is not grpc.StatusCode.UNAVAILABLE:
                            raise
            raise AssertionError("the last attempt returns or raises")

        return call

    def _many(self, method: str, proceed: Callable[..., Any]) -> Callable[..., "Replies"]:
        def call(
            request: Any, *, timeout: float | None = None, metadata: Iterable[Any] | None = None, **options: Any
        ) -> Replies:
            async def replies() -> AsyncGenerator[Any, None]:
                outgoing = self._calls.prepare(method, timeout, metadata)
                with outgoing.under_way():
                    await self._connected(outgoing.timeout)
                    stream = proceed(request, timeout=outgoing.timeout, metadata=outgoing.metadata, **options)
                    try:
                        async for reply in stream:
                            yield reply
                    finally:
                        stream.cancel()  # does nothing to a stream that is over

            return Replies(replies())

        return call

    async def _connected(self, timeout: float | None) -> None:
        """Return when connected; raises Unavailable after 3 s, or after `timeout` seconds if that is less."""
        state = self._inner.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return
        wait = _CONNECT_SECONDS if timeout is None else min(timeout, _CONNECT_SECONDS)
        try:
            async with asyncio.timeout(wait):
                while state is not grpc.ChannelConnectivity.READY:
                    await self._inner.wait_for_state_change(state)
                    state = self._inner.get_state(try_to_connect=True)
        except TimeoutError:
            raise Unavailable("a part that the answer needs cannot be reached", retry_after=1.0) from None

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Replies:
    """The replies of a call, one after the other. Leaving them before their end must be followed by `aclose`."""

    def __init__(self, replies: AsyncGenerator[Any, None]) -> None:
        self._replies = replies

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._replies)

    async def aclose(self) -> None:
        """Cancel the call if it is not over; `contextlib.aclosing` does it at the end of a block."""
        await self._replies.aclose()
