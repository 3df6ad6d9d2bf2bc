"""Generated stubs over an Exchange: `OcrServiceStub(ExchangeChannel(exchange))`, typed as over any channel."""

from collections.abc import Awaitable, Callable
from typing import Any, Self

import grpc

from services.kit.errors import Internal
from services.kit.exchange.client import Exchange
from services.kit.exchange.pending import ManyReplies


class ExchangeChannel(grpc.aio.Channel):
    """Leads the methods that an Exchange carries through it. One that it does not carry is Internal when called.

    A call with one reply is awaited; one with many is iterated, and must be closed when it is left early. Metadata is
    what the Exchange makes it; none can be added. Closing this does not close the Exchange.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._members = {path: member for member, path in exchange.contract.members.items()}

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        member = self._members.get(method)
        if member is None:
            return self._missing(method)

        def call(request: Any, *, timeout: float | None = None) -> Awaitable[Any]:
            return self._exchange.call(member, request, timeout=timeout)

        return call

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        member = self._members.get(method)
        if member is None:
            return self._missing(method)

        def call(request: Any, *, timeout: float | None = None) -> ManyReplies:
            return self._exchange.stream(member, request, timeout=timeout)

        return call

    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        return self._missing(method)

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
        return self._missing(method)

    def _missing(self, method: str) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            raise Internal(f"{self._exchange.contract.path} does not carry {method}")

        return call

    async def close(self, grace: float | None = None) -> None:
        """Leave the Exchange as it is: whoever opened it closes it."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        raise Internal("an Exchange has no state to wait for")

    async def channel_ready(self) -> None:
        """Return at once: a call waits for its connection itself."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave the Exchange as it is."""
