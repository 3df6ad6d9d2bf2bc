"""One stream on the server: it is read, written and watched, and ends in order.

The order at the end: the server says Draining (it stops, or the caller's token or the stream's time comes to an end),
the caller opens a stream elsewhere and closes its side of this one, what was accepted until then is answered, and the
stream ends with OK. A caller that goes on sending is refused after a while, call by call.
"""

import asyncio
from typing import Any

import grpc

from services.kit.call import Principal
from services.kit.errors import Unavailable
from services.kit.exchange.life import seconds_of_stream
from services.kit.exchange.session import Session
from services.kit.exchange.table import Table

_WORD = 32  # bytes of a word of the protocol


class ServerStream:
    """One stream of a door."""

    def __init__(self, table: Table, context: Any, principal: Principal, authorization: str) -> None:
        self._table = table
        self._options = table.options
        self._context = context
        self._authorization = authorization
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + seconds_of_stream(
            table.clock.now().timestamp(), table.pipeline.holds_until(authorization), self._options.rotate_seconds
        )
        self._drained_at: float | None = None
        self._reading = True
        self.session = Session(table, principal, context.peer())

    async def run(self) -> None:
        """Serve the stream to its end; raises the CandelaError that ends it otherwise than in order."""
        self._greet()
        writer = asyncio.create_task(self._write())
        tasks = {writer, asyncio.create_task(self._read_on()), asyncio.create_task(self._watch())}
        running = set(tasks)
        try:
            while writer in running:
                ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
        finally:
            self.session.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def drain(self) -> None:
        """Ask the caller to turn to another stream; once."""
        if self._drained_at is None:
            self._drained_at = self._loop.time()
            self._word().draining.SetInParent()

    def _greet(self) -> None:
        self._word().credit.count = self._options.window
        self._beat()

    def _beat(self) -> None:
        self._word().heartbeat.interval.FromMilliseconds(int(self._options.heartbeat_seconds * 1000))

    def _word(self) -> Any:
        return self.session.outbox.add(0, _WORD)

    async def _read_on(self) -> None:
        """Read until the caller closes its side, see that all is answered, and let the writer end."""
        await self._read()
        while self.session.open:
            await self.session.change()
        self.session.outbox.close()

    async def _read(self) -> None:
        session, options, pulse = self.session, self._options, self.session.pulse
        read, time = self._context.read, self._loop.time
        while (frame := await read()) is not grpc.aio.EOF:
            pulse.heard = time()
            session.receive(frame)
            while session.held_bytes > options.held_bytes or session.outbox.unsent > options.unsent_bytes:
                self._reading = False
                await session.change()
            if not self._reading:  # what was not read was not missed
                self._reading = True
                pulse.heard = time()
        self._reading = False

    async def _write(self) -> None:
        session, outbox, pulse = self.session, self.session.outbox, self.session.pulse
        write, time = self._context.write, self._loop.time
        while (taken := await outbox.take()) is not None:
            frame, size = taken
            await write(frame)
            outbox.sent(size)
            session.changed()
            pulse.sent = time()

    async def _watch(self) -> None:
        """Keep time: show life, miss the caller's, ask for another stream when this one's time has come."""
        pulse = self.session.pulse
        while True:
            await asyncio.sleep(self._pause())
            now = self._loop.time()
            if self._reading and pulse.is_dead(now):
                raise Unavailable("nothing was heard of the caller for three heartbeats")
            if pulse.is_due(now) and not self.session.outbox.unsent:
                self._beat()
            if now >= self._ends_at:
                self.drain()
            if self._drained_at is None:
                await self._check_caller()
            elif now >= self._drained_at + self._options.drain_seconds / 2:
                self.session.refusing = True
                if not self.session.open:
                    self.session.outbox.close()

    def _pause(self) -> float:
        """Return the seconds until the next look: half a heartbeat, or less when something is due before."""
        now, most = self._loop.time(), self._options.heartbeat_seconds / 2
        due = self._ends_at if self._drained_at is None else self._drained_at + self._options.drain_seconds / 2
        return most if due <= now else min(most, due - now)

    async def _check_caller(self) -> None:
        """Raise Unauthenticated when the caller's token does not hold any more: its key was taken out of use."""
        table = self._table
        info = table.pipeline.methods.get(table.contract.path)
        await table.pipeline.admit(info, self._authorization, _Nobody())


class _Nobody:
    """Is told who the caller is when that is known."""

    principal: Principal | None = None
