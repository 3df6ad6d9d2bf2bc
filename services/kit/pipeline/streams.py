"""The two ends of a streaming call as its handler sees them: checked messages in, at most one terminal event out."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import Message

from services.kit.errors import CandelaError, Internal
from services.kit.grpc_status import to_status
from services.kit.pipeline.methods import MethodInfo
from services.kit.validation import validate


async def checked(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """Yield each message once it has passed its rules; raises InvalidArgument at the first that does not."""
    async for message in requests:
        validate(message)
        yield message


class Outbox:
    """Where a stream's replies leave.

    Initial metadata wait for the first reply: behind the JSON gateway a stream that has sent them has answered 200, and
    a failure could no longer show. Once a reply is out, a failure is told in-band where the contract has an `error`
    member; nothing follows a terminal event.
    """

    def __init__(self, info: MethodInfo, context: Any) -> None:
        self._info = info
        self._context = context
        self._initial_metadata: Any = None
        self._seq = 0
        self.started = False
        self.ended = False

    def hold_metadata(self, metadata: Any) -> None:
        """Send `metadata` with the first reply; Internal when that is out already."""
        if self.started:
            raise Internal("initial metadata after the first reply")
        self._initial_metadata = metadata

    async def send(self, reply: Any) -> None:
        """Send one reply; Internal when the terminal event is out already."""
        if self.ended:
            raise Internal("a reply after the terminal event")
        terminal = self._info.terminal
        if terminal is not None:
            self.ended = reply.WhichOneof(terminal.oneof) in ("completed", "error")
            if terminal.seq:
                self._seq = getattr(reply, terminal.seq)
        if not self.started:
            self.started = True
            if self._initial_metadata is not None:
                await self._context.send_initial_metadata(self._initial_metadata)
        await self._context.write(reply)

    def check_ended(self) -> None:
        """Refuse a stream that is over without the terminal event that its contract promises."""
        if self._info.terminal is not None and not self.ended:
            raise Internal("the stream ended without its terminal event")

    async def fail(self, error: CandelaError, trace_id: str) -> bool:
        """Tell of a failure in-band; False when it must be told by a status instead.

        After the terminal event there is nothing to tell any more: the caller has its answer.
        """
        if self.ended:
            return True
        terminal = self._info.terminal
        if terminal is None or not self.started or self._info.response_type is None:
            return False
        event = self._info.response_type(error=to_status(error, trace_id))
        if terminal.seq:
            setattr(event, terminal.seq, self._seq + 1)
        self.ended = True
        await self._context.write(event)
        return True


class StreamContext:
    """gRPC's own context for a streaming handler, with reading, writing and metadata led through the pipeline."""

    __slots__ = ("_context", "_outbox")

    def __init__(self, context: Any, outbox: Outbox | None) -> None:
        """Lead writes through `outbox`, None when the method has a single reply."""
        self._context = context
        self._outbox = outbox

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        """Return the next message, checked, or grpc.aio.EOF."""
        message = await self._context.read()
        if message is not grpc.aio.EOF:
            validate(message)
        return message

    async def write(self, reply: Any) -> None:
        """Send one reply."""
        if self._outbox is None:
            raise Internal("this method has a single reply")
        await self._outbox.send(reply)

    async def send_initial_metadata(self, metadata: Any) -> None:
        """Send `metadata` before the first reply; at once where there is only one."""
        if self._outbox is None:
            await self._context.send_initial_metadata(metadata)
        else:
            self._outbox.hold_metadata(metadata)
