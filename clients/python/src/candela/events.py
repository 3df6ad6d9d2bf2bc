"""Streams that end with one event, `completed` or `error`: their text, their result, and going on after a break."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from google.protobuf.message import Message

from candela.errors import Unavailable
from candela.method import Method, Res
from candela.streams import AsyncStream, Stream

Done = TypeVar("Done", bound=Message)

# How often a stream goes on without a single new event in between.
_RESUMPTIONS: Final = 3
_BACKGROUND: Final = "background"


class Trail(Generic[Done]):
    """What is known of a stream from its events: how far it is, whose it is, how it ended."""

    def __init__(
        self, method: Method[Any, Any], request: Message | None, done: type[Done], resume: Method[Any, Any] | None
    ) -> None:
        self.completed: Done | None = None
        self._done = done
        self._resume = resume
        self._background = bool(request is not None and getattr(request, _BACKGROUND, False))
        self._fields = method.response.DESCRIPTOR.fields_by_name
        self._name, self._seq, self._tries = "", 0, 0
        if resume is not None and method.path == resume.path and request is not None:
            self._name, self._seq = getattr(request, "name", ""), getattr(request, "after_seq", 0)

    def see(self, event: Any) -> None:
        """Takes note of an event."""
        number = getattr(event, "seq", 0)
        if number:
            self._seq, self._tries = number, 0
        if "started" in self._fields and event.HasField("started"):
            self._name = event.started.reply.name
        if event.HasField("completed"):
            self.completed = event.completed

    def text(self, event: Any) -> str:
        """Returns the text that an event adds; raises TypeError for streams that carry none."""
        if "text_delta" not in self._fields:
            raise TypeError("this stream carries no text")
        said: str = event.text_delta.text
        return said

    def final(self) -> Done:
        """Returns the last event's content; raises RuntimeError when the stream was closed before."""
        if self.completed is None:
            raise RuntimeError("the stream was closed before its end")
        return self.completed

    def onward(self) -> tuple[Method[Any, Any], Message] | None:
        """Returns the call that goes on where the stream broke off, None when nothing can."""
        if self._resume is None or not self._name or self.completed is not None or self._tries >= _RESUMPTIONS:
            return None
        self._tries += 1
        request = self._resume.request(name=self._name, after_seq=self._seq)
        if self._background:
            setattr(request, _BACKGROUND, True)
        return self._resume, request


class EventStream(Generic[Res, Done]):
    """The events of one call as they arrive. Close it, or leave its `with` block, to stop the work.

    A chat's answer that breaks off goes on by itself where it was: what was sent before is neither sent nor charged
    again. Every other stream that breaks off raises Unavailable.
    """

    def __init__(
        self,
        stream: Stream[Res],
        trail: Trail[Done],
        reopen: Callable[[Method[Any, Res], Any], Stream[Res]] | None,
    ) -> None:
        self._stream = stream
        self._trail = trail
        self._reopen = reopen

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Res:
        while True:
            try:
                event = next(self._stream)
            except Unavailable:
                onward = self._trail.onward()
                if onward is None or self._reopen is None:
                    raise
                self._stream = self._reopen(*onward)
                continue
            self._trail.see(event)
            return event

    @property
    def text(self) -> Iterator[str]:
        """The pieces of text as they arrive."""
        return (said for event in self if (said := self._trail.text(event)))

    def final(self) -> Done:
        """Takes all that is left and returns what the last event says; raises the error that it carries."""
        for _ in self:
            continue
        return self._trail.final()

    def close(self) -> None:
        """Stops listening; the server stops working for it."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncEventStream(Generic[Res, Done]):
    """What EventStream is, for `async for` and `async with`."""

    def __init__(
        self,
        stream: AsyncStream[Res],
        trail: Trail[Done],
        reopen: Callable[[Method[Any, Res], Any], Awaitable[AsyncStream[Res]]] | None,
    ) -> None:
        self._stream = stream
        self._trail = trail
        self._reopen = reopen

    def __aiter__(self) -> AsyncIterator[Res]:
        return self

    async def __anext__(self) -> Res:
        while True:
            try:
                event = await anext(self._stream)
            except Unavailable:
                onward = self._trail.onward()
                if onward is None or self._reopen is None:
                    raise
                self._stream = await self._reopen(*onward)
                continue
            self._trail.see(event)
            return event

    @property
    def text(self) -> AsyncIterator[str]:
        """The pieces of text as they arrive."""
        return (said async for event in self if (said := self._trail.text(event)))

    async def final(self) -> Done:
        """Takes all that is left and returns what the last event says; raises the error that it carries."""
        async for _ in self:
            continue
        return self._trail.final()

    def close(self) -> None:
        """Stops listening; the server stops working for it."""
        self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
