"""One call as its caller waits for it."""

import asyncio
import time
from collections import deque
from math import inf
from typing import Any, Self

from google.protobuf.message import Message
from opentelemetry import trace

from candela.exchange.v1 import exchange_pb2
from services.kit.call import Principal
from services.kit.errors import CandelaError
from services.kit.pipeline.methods import MethodInfo

NORMAL = int(exchange_pb2.PRIORITY_NORMAL)


class Pending:
    """A call from `Exchange.call` to its end. Times are in seconds of the monotonic clock.

    It ends once, with `settle`; what comes after that is dropped. `link` is where it was sent, None while it waits.
    """

    __slots__ = (
        "actor",
        "attempts",
        "avoid",
        "deadline",
        "done",
        "future",
        "info",
        "link",
        "many",
        "member",
        "number",
        "priority",
        "request",
        "request_id",
        "size",
        "span",
        "started",
        "traceparent",
        "wait_until",
    )

    def __init__(self, member: str, info: MethodInfo, request: Message, future: "asyncio.Future[Any] | None") -> None:
        self.member = member
        self.info = info
        self.request: Message | None = request
        self.size = request.ByteSize()
        self.future = future
        self.many: ManyReplies | None = None
        self.started = time.monotonic()
        self.deadline = inf
        self.wait_until = inf
        self.priority = NORMAL
        self.actor: Principal | None = None
        self.traceparent = ""
        self.request_id = ""
        self.span: trace.Span | None = None
        self.attempts = 0
        self.avoid: object = None  # the replica that could not answer last
        self.link: Any = None
        self.number = 0
        self.done = False

    @property
    def may_repeat(self) -> bool:
        """Say whether another server may be asked although one may have begun with it."""
        return self.info.read_only and (self.many is None or not self.many.begun)

    def write_context(self, context: Any, now: float) -> None:
        """Fill in what a unary call would carry in its metadata."""
        if self.deadline != inf:
            left = max(self.deadline - now, 0.0)
            timeout = context.timeout
            timeout.seconds = int(left)
            timeout.nanos = int((left - int(left)) * 1e9)
            timeout.SetInParent()
        if self.priority != NORMAL:
            context.priority = self.priority
        if self.actor is not None:
            actor = context.actor
            actor.tenant = self.actor.tenant
            if self.actor.user:
                actor.user = self.actor.user
            if self.actor.api_key:
                actor.api_key = self.actor.api_key
        if self.traceparent:
            context.traceparent = self.traceparent
        if self.request_id:
            context.request_id = self.request_id

    def settle(self, answer: Message | None, error: CandelaError | None) -> None:
        """End the call, for whoever waits: with its answer, with an error, or without either after many replies."""
        self.done = True
        self.request = None
        if self.many is not None:
            self.many.end(error)
        elif self.future is not None and not self.future.done():
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result(answer)


class ManyReplies:
    """The replies of a call, one after the other, in their order. Leaving them early must be followed by `aclose`."""

    def __init__(self, pending: Pending, book: Any, window: int) -> None:
        """Let `window` replies come before they are taken."""
        self.begun = False
        self._pending = pending
        self._book = book
        self._window = window
        self._taken = 0
        self._replies: deque[Message] = deque()
        self._ended = False
        self._error: CandelaError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def window(self) -> int:
        return self._window

    def push(self, reply: Message) -> None:
        """Add a reply that came."""
        self.begun = True
        self._replies.append(reply)
        self._wake()

    def end(self, error: CandelaError | None) -> None:
        """Say that none follows."""
        self._ended, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while not self._replies:
            if self._ended:
                error, self._error = self._error, None
                raise error or StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                self._book.abandon(self._pending)
                raise
        self._taken += 1
        if self._taken >= self._window // 2:
            self._book.let_come(self._pending, self._taken)
            self._taken = 0
        return self._replies.popleft()

    async def aclose(self) -> None:
        """Cancel the call if it is not over; `contextlib.aclosing` does it at the end of a block."""
        self._replies.clear()
        self._book.abandon(self._pending)
