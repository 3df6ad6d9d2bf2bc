"""Streams to one replica, one after the other: dialled, written, read, watched, and dialled again."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any

import grpc

from services.kit.errors import CandelaError
from services.kit.exchange.book import Book
from services.kit.exchange.contract import Contract
from services.kit.exchange.link import Link
from services.kit.exchange.options import ClientOptions
from services.kit.grpc_status import from_rpc_error
from services.kit.tasks import end

_LOG = logging.getLogger(__name__)


class Dead(Exception):
    """Nothing was heard of a replica for three heartbeats."""


class Lane:
    """Keeps a stream to a replica open as long as it runs, for small calls or for large ones.

    A stream that drains finishes its calls while the next one is dialled already.
    """

    def __init__(
        self,
        address: str,
        channel: grpc.aio.Channel,
        contract: Contract,
        options: ClientOptions,
        book: Book,
        metadata: Callable[[], Any],
        *,
        large: bool,
    ) -> None:
        """`metadata` gives what authenticates a stream that begins now."""
        self.address = address
        self._contract = contract
        self._options = options
        self._book = book
        self._metadata = metadata
        self._large = large
        self._dial = channel.stream_stream(
            contract.path,
            request_serializer=contract.call_frame.SerializeToString,
            response_deserializer=contract.reply_frame.FromString,
        )
        self._streams: set[asyncio.Task[None]] = set()
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Dial, if that was not done before."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"exchange with {self.address}")

    async def leave(self) -> None:
        """Send nothing new, let what is under way finish, and end."""
        await self._stop()
        if self._link is not None:
            self._link.retire()
        if self._streams:
            await asyncio.wait(self._streams)

    async def close(self) -> None:
        """End at once."""
        await self._stop()
        for stream in list(self._streams):
            await end(stream)

    async def _stop(self) -> None:
        if self._task is not None:
            await end(self._task)

    async def _keep(self) -> None:
        pause = self._options.first_pause_seconds
        while True:
            link = self._link = Link(self.address, self._contract, self._options, self._book)
            over = asyncio.Event()
            stream = asyncio.create_task(self._stream(link, over))
            self._streams.add(stream)
            stream.add_done_callback(self._streams.discard)
            await over.wait()
            if link.granted:
                pause = self._options.first_pause_seconds
                if link.retired:
                    continue
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that callers do not come together
            pause = min(pause * 2, self._options.longest_pause_seconds)

    async def _stream(self, link: Link, over: asyncio.Event) -> None:
        """Be one stream; `over` is set when the next one should be dialled."""
        call = self._dial(metadata=self._metadata())
        link.beat(self._options.heartbeat_seconds)
        reader = asyncio.create_task(self._read(link, call, over))
        tasks = {reader, asyncio.create_task(self._write(link, call)), asyncio.create_task(self._watch(link))}
        running = set(tasks)
        refusal: CandelaError | None = None
        try:
            while reader in running:
                ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
        except (grpc.RpcError, asyncio.InvalidStateError, Dead) as exc:
            self._tell(link, exc)
            refusal = _refusal(exc)
        finally:
            over.set()
            call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._book.lost(link, refusal)

    def _tell(self, link: Link, exc: Exception) -> None:
        code = exc.code().name if isinstance(exc, grpc.RpcError) else type(exc).__name__
        level = logging.WARNING if link.granted else logging.DEBUG  # one that is not there is dialled again and again
        _LOG.log(level, "the stream to %s of %s ended: %s", self._contract.path, self.address, code)

    async def _read(self, link: Link, call: Any, over: asyncio.Event) -> None:
        pulse, monotonic = link.pulse, time.monotonic
        while (frame := await call.read()) is not grpc.aio.EOF:
            pulse.heard = monotonic()
            granted = link.granted
            link.receive(frame)
            if link.retired:
                over.set()
            elif link.granted and not granted:
                self._book.opened(link, large=self._large)

    async def _write(self, link: Link, call: Any) -> None:
        outbox, pulse, monotonic = link.outbox, link.pulse, time.monotonic
        while (taken := await outbox.take()) is not None:
            frame, size = taken
            await call.write(frame)
            outbox.sent(size)
            pulse.sent = monotonic()
            self._book.changed()
        await call.done_writing()

    async def _watch(self, link: Link) -> None:
        pulse = link.pulse
        while True:
            await asyncio.sleep(self._options.heartbeat_seconds / 2)
            now = time.monotonic()
            if pulse.is_dead(now):
                raise Dead
            if pulse.is_due(now) and not link.outbox.unsent:
                link.beat(self._options.heartbeat_seconds)


def _refusal(exc: Exception) -> CandelaError | None:
    """Return what to tell the callers when a stream ended because a message was too large for the replica."""
    if isinstance(exc, grpc.RpcError) and exc.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return from_rpc_error(exc)
    return None
