"""Answers that come in pieces.

A finite stream of Candela ends with one event, `completed` or `error`, because a gateway in between cannot be trusted
to pass on how a stream ended. Here an `error` event is raised as what it is, and a stream without its last event as
Unavailable.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import status_pb2

from candela.errors import CandelaError, Unavailable, from_rpc_error, from_status

Res = TypeVar("Res", bound=Message)


class _Closable(Protocol):
    def __aiter__(self) -> AsyncIterator[Any]: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=_Closable)


class _Call(Protocol):
    def cancel(self) -> Any: ...


class Ending:
    """Watches a stream for its last event."""

    def __init__(self, response: type[Message]) -> None:
        fields = response.DESCRIPTOR.fields_by_name
        completed, error = fields.get("completed"), fields.get("error")
        self._promised = (
            completed is not None
            and error is not None
            and completed.containing_oneof is not None
            and completed.containing_oneof is error.containing_oneof
            and error.message_type == status_pb2.Status.DESCRIPTOR
        )
        self._came = False

    def see(self, message: Message) -> None:
        """Takes note of an event; raises the error that it carries."""
        if not self._promised:
            return
        if message.HasField("error"):
            raise from_status(getattr(message, "error"))  # noqa: B009 -- Message in general has no such attribute
        self._came = self._came or message.HasField("completed")

    def waive(self) -> None:
        """Expects no last event any more: the caller has seen enough."""
        self._promised = False

    def over(self) -> None:
        """Takes note of the end; raises Unavailable when it came too early."""
        if self._promised and not self._came:
            raise Unavailable("the stream broke off before its end")


class Stream(Generic[Res]):
    """The messages of one call as they arrive. Iterate over it; close it, or leave its `with` block, to stop the work.

    Nothing is sent again once the first message is here: what came before a break may have been used already.
    """

    def __init__(
        self, call: _Call, messages: Iterator[Res], first: Res | None, response: type[Res], *, begun: bool = True
    ) -> None:
        self._call = call
        self._messages = messages
        self._first = first
        self._ending = Ending(response)
        self._done = begun and first is None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Res:
        message = self._next()
        if message is None:
            self._done = True
            self._ending.over()
            raise StopIteration
        try:
            self._ending.see(message)
        except CandelaError:
            self.close()
            raise
        return message

    def _next(self) -> Res | None:
        if self._first is not None:
            message, self._first = self._first, None
            return message
        if self._done:
            return None
        try:
            return next(self._messages, None)
        except grpc.RpcError as error:
            self._done = True
            raise from_rpc_error(error) from error

    def close(self) -> None:
        """Stops listening; the server stops working for it."""
        self._done, self._first = True, None
        self._ending.waive()
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncStream(Generic[Res]):
    """What Stream is, for `async for` and `async with`."""

    def __init__(
        self,
        call: "grpc.aio.UnaryStreamCall[Any, Res]",
        first: Res | None,
        response: type[Res],
        *,
        begun: bool = True,
    ) -> None:
        self._call = call
        self._first = first
        self._ending = Ending(response)
        self._done = begun and first is None

    def __aiter__(self) -> AsyncIterator[Res]:
        return self

    async def __anext__(self) -> Res:
        message = await self._next()
        if message is None:
            self._done = True
            self._ending.over()
            raise StopAsyncIteration
        try:
            self._ending.see(message)
        except CandelaError:
            self.close()
            raise
        return message

    async def _next(self) -> Res | None:
        if self._first is not None:
            message, self._first = self._first, None
            return message
        return None if self._done else await read(self._call)

    def close(self) -> None:
        """Stops listening; the server stops working for it."""
        self._done, self._first = True, None
        self._ending.waive()
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Opening(Generic[S]):
    """A stream that is opened when it is awaited, iterated over, or entered with `async with`."""

    def __init__(self, opened: Callable[[], Coroutine[Any, Any, S]]) -> None:
        self._opened = opened
        self._stream: S | None = None

    def __await__(self) -> Generator[Any, None, S]:
        return self._opened().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        async with self as stream:
            async for message in stream:
                yield message

    async def __aenter__(self) -> S:
        self._stream = await self._opened()
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()


async def read(call: "grpc.aio.UnaryStreamCall[Any, Res]") -> Res | None:
    """Returns the next message, None at the end; raises CandelaError."""
    try:
        message = await call.read()
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    return None if message is grpc.aio.EOF else cast("Res", message)
