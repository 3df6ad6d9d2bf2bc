"""The caller's end of an Exchange by hand, frame by frame, for what no honest client sends."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from candela.inference.v1 import exchange_service_pb2, exchange_service_pb2_grpc
from tests.support.grpc_server import Metadata, RunningServer

Call = exchange_service_pb2.Call
CallFrame = exchange_service_pb2.CallFrame


class Wire:
    """One stream. `replies` gives what comes that is no heartbeat and no credit, one reply after the other."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.credit = 0
        self.heartbeats = 0
        self.frames: list[int] = []  # how many replies each frame had, without words
        self._replies: deque[Any] = deque()

    async def send(self, *calls: Any) -> None:
        await self.stream.write(CallFrame(calls=calls))

    async def ask(self, call: Any) -> Any:
        """Send one call and return the next reply."""
        await self.send(call)
        return await self.reply()

    async def reply(self) -> Any:
        """Return the next reply, or grpc.aio.EOF."""
        while not self._replies:
            frame = await asyncio.wait_for(self.stream.read(), 5.0)
            if frame is grpc.aio.EOF:
                return frame
            self._take(frame)
        return self._replies.popleft()

    async def replies(self, count: int) -> list[Any]:
        return [await self.reply() for _ in range(count)]

    def _take(self, frame: Any) -> None:
        told = 0
        for reply in frame.replies:
            what = reply.WhichOneof("result")
            if what == "credit":
                self.credit += reply.credit.count
            elif what == "heartbeat":
                self.heartbeats += 1
            else:
                told += 1
                self._replies.append(reply)
        if told:
            self.frames.append(told)

    async def status(self) -> tuple[grpc.StatusCode, str]:
        """Read what is left and return how the stream ended."""
        try:
            while await self.reply() is not grpc.aio.EOF:
                continue
        except grpc.aio.AioRpcError as error:
            return error.code(), str(error.details())
        return await self.stream.code(), ""


@asynccontextmanager
async def wire(server: RunningServer, metadata: Metadata | None = None) -> AsyncIterator[Wire]:
    stub = exchange_service_pb2_grpc.ExchangeServiceStub(server.channel)
    stream = stub.Exchange(metadata=server.as_service("recognition") if metadata is None else metadata)
    try:
        yield Wire(stream)
    finally:
        stream.cancel()
