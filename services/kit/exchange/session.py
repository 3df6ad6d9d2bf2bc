"""The calls of one stream on the server, without the stream: words in, frames into the outbox.

Everything here happens on the loop's thread and nothing waits; stream.py reads, writes and keeps time.
"""

import asyncio
from collections import deque
from typing import Any

import grpc
from google.protobuf.message import Message

from services.kit.call import Principal
from services.kit.errors import (
    Cancelled,
    CandelaError,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from services.kit.exchange import behaviours
from services.kit.exchange.contract import MAX_CALLS
from services.kit.exchange.incoming import Incoming
from services.kit.exchange.life import Pulse
from services.kit.exchange.outbox import Outbox
from services.kit.exchange.table import Actors, Entry, Table, admit
from services.kit.grpc_status import code_of, to_status
from services.kit.pipeline.deadline import too_late
from services.kit.pipeline.failures import as_error
from services.kit.pipeline.item_telemetry import ItemTrace, span_of

_AROUND = 16  # bytes of a reply beside its message
_SOONEST = 0.005  # deadlines are looked at this often at most, in seconds
_OK = grpc.StatusCode.OK


class Held:
    """How many calls of one frame are under way: while any is, the frame's memory is in use."""

    __slots__ = ("calls", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.calls = 0


class Session:
    """The calls of one stream. `changed` is called when calls ended or memory was given back."""

    def __init__(self, table: Table, principal: Principal, peer: str) -> None:
        options = table.options
        self.table = table
        self.principal = principal
        self.peer = peer
        self.open: dict[int, Incoming] = {}
        self.outbox = Outbox(
            table.contract.reply_frame, "replies", size=options.frame_bytes, count=options.frame_replies
        )
        self.held_bytes = 0
        self.refusing = False  # whether calls that come now came too late for a stream that ends
        self.pulse = Pulse(options.heartbeat_seconds, asyncio.get_running_loop().time())
        self._actors = Actors(principal)
        self._held_replies = 0
        self._due: asyncio.TimerHandle | None = None
        self._due_at = 0.0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- what comes in

    def receive(self, frame: Any) -> None:
        """Take in a frame; InvalidArgument when it breaks the protocol, which ends the stream."""
        calls = frame.calls
        if not 0 < len(calls) <= MAX_CALLS:
            raise InvalidArgument(f"a frame has 1 to {MAX_CALLS} calls")
        held = Held(frame.ByteSize())
        self.held_bytes += held.size
        now = self.table.clock.monotonic()
        entries, groups = self.table.entries, dict[str, list[Incoming]]()
        arrived: dict[str, int] = {}
        try:
            for call in calls:
                member = call.WhichOneof("request")
                entry = entries.get(member)
                if entry is None:
                    self._word(call, member)
                    continue
                incoming = self._accept(call, entry, held, now)
                arrived[member] = arrived.get(member, 0) + 1
                if incoming.done:
                    continue
                if member in groups:
                    groups[member].append(incoming)
                else:
                    groups[member] = [incoming]
        finally:
            for member, count in arrived.items():
                entries[member].in_flight.inc(count)
        if not held.calls:
            self.held_bytes -= held.size
        for member, items in groups.items():
            self._begin(entries[member], items)

    def _accept(self, call: Any, entry: Entry, held: Held, now: float) -> Incoming:
        number = call.id
        if number == 0 or number in self.open:
            raise InvalidArgument(f"the id {number} of a call is zero or in use")
        incoming = Incoming(self, number, entry.member, entry.method, getattr(call, entry.member))
        incoming.started = now
        incoming.frame = held
        held.calls += 1
        self.open[number] = incoming
        try:
            if len(self.open) > self.table.options.window:
                raise ResourceExhausted(
                    "more calls than the stream's credit allows", reason="OVERLOADED", retry_after=0.1
                )
            if self.refusing:
                raise Unavailable("the server takes no new calls on this stream", retry_after=0.1)
            admit(self.table, entry, self._actors, incoming, call.context)
        except CandelaError as error:
            self.fail(incoming, error)
        return incoming

    def _begin(self, entry: Entry, items: list[Incoming]) -> None:
        self._watch(min(incoming.deadline for incoming in items))
        if entry.frames is None:
            for incoming in items:
                self._spawn(entry, incoming)
            return
        try:
            entry.frames(items)
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is, the callers are told in our own terms
            error = as_error(exc, entry.method.info.name)
            for incoming in items:
                incoming.fail(error)

    def _spawn(self, entry: Entry, incoming: Incoming) -> None:
        task = asyncio.get_running_loop().create_task(behaviours.run(incoming, entry.behaviour))
        incoming.on_cancel(lambda: _cancel(task))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _word(self, call: Any, member: str | None) -> None:
        """Act on a word of the protocol; one about a call that is over, or that is not known, means nothing."""
        incoming = self.open.get(call.id)
        if member == "cancel":
            if incoming is not None:
                self._drop(incoming, Cancelled("the caller cancelled the call"))
        elif member == "credit":
            if incoming is not None and call.credit.count:
                incoming.credit = (incoming.credit or 0) + call.credit.count
                self._release(incoming)
        elif member == "heartbeat":
            self.pulse.told(call.heartbeat.interval.seconds + call.heartbeat.interval.nanos * 1e-9)
        elif member is None and call.id:
            self._unknown(call.id, incoming)

    def _unknown(self, number: int, incoming: Incoming | None) -> None:
        """Answer a request that only a newer contract has."""
        if incoming is not None:
            raise InvalidArgument(f"the id {number} of a call is in use")
        error = Unimplemented("this server does not know what the call asks")
        reply = self.outbox.add(number, _AROUND)
        reply.last = True
        reply.error.CopyFrom(to_status(error))

    # --- what goes out

    def reply(self, incoming: Incoming, message: Message | None, last: bool) -> None:
        """Send a reply, after those that wait for credit; without a message it only ends the call."""
        if incoming.held or (incoming.credit == 0 and not last):
            self._hold(incoming, message, last)
            return
        size = _AROUND if message is None else message.ByteSize() + _AROUND
        if size > self.table.options.reply_bytes:
            self.fail(incoming, ResourceExhausted("the answer is larger than a message may be"))
            return
        element = self.outbox.add(incoming.id, size)
        if message is not None:
            result = getattr(element, incoming.member)
            result.CopyFrom(message)
            result.SetInParent()
        if last:
            element.last = True
            self._ended(incoming, _OK)
        elif incoming.credit is not None:
            incoming.credit -= 1

    def fail(self, incoming: Incoming, error: CandelaError) -> None:
        """End a call with an error; its replies that wait for credit are dropped."""
        status = to_status(error, _trace_id(incoming.trace()))
        element = self.outbox.add(incoming.id, status.ByteSize() + _AROUND)
        element.last = True
        element.error.CopyFrom(status)
        self._ended(incoming, code_of(error), error.message)

    def _hold(self, incoming: Incoming, message: Message | None, last: bool) -> None:
        size = 0 if message is None else message.ByteSize()
        if self._held_replies + size > self.table.options.unsent_bytes:
            self._drop(incoming, ResourceExhausted("the caller does not take its replies", reason="OVERLOADED"))
            return
        if incoming.held is None:
            incoming.held = deque()
        incoming.held.append((message, last))
        self._held_replies += size

    def _release(self, incoming: Incoming) -> None:
        """Send replies that waited for the credit that came."""
        held = incoming.held
        while held and not incoming.done and (incoming.credit or held[0][1]):
            message, last = held.popleft()
            self._held_replies -= 0 if message is None else message.ByteSize()
            waiting, incoming.held = incoming.held, None
            self.reply(incoming, message, last)
            if not incoming.done:
                incoming.held = waiting
        self.changed()

    def _ended(self, incoming: Incoming, code: grpc.StatusCode, description: str = "") -> None:
        incoming.done = True
        del self.open[incoming.id]
        self._give_back(incoming)
        self._report(incoming, code, description)
        incoming.forget()
        if not self.open:
            self.changed()

    def _give_back(self, incoming: Incoming) -> None:
        held = incoming.frame
        held.calls -= 1
        if not held.calls:
            self.held_bytes -= held.size
            if self._waiters:
                self.changed()
        for message, _ in incoming.held or ():
            self._held_replies -= 0 if message is None else message.ByteSize()

    def _report(self, incoming: Incoming, code: grpc.StatusCode, description: str) -> None:
        telemetry, info = self.table.telemetry, incoming.method.info
        seconds = self.table.clock.monotonic() - incoming.started
        if code is _OK and telemetry.good(info, incoming.seen, seconds):
            return
        telemetry.end(
            info,
            incoming.trace(),
            code,
            seconds,
            principal=incoming.principal,
            request_id=incoming.request_id,
            description=description,
        )

    # --- calls that end early

    def _drop(self, incoming: Incoming, error: CandelaError) -> None:
        callback = incoming.taken_callback()
        self.fail(incoming, error)
        callback()

    def _watch(self, deadline: float) -> None:
        """Look at deadlines when the next one passes. One timer for the stream: one for each call would cost more."""
        if self._due is not None:
            if deadline >= self._due_at:
                return
            self._due.cancel()
        self._due_at = deadline
        wait = max(_SOONEST, deadline - self.table.clock.monotonic())
        self._due = asyncio.get_running_loop().call_later(wait, self.expire)

    def expire(self) -> None:
        """End the calls whose deadline has passed."""
        self._due = None
        now = self.table.clock.monotonic()
        late = [incoming for incoming in self.open.values() if incoming.deadline <= now]
        for incoming in late:
            self._drop(incoming, too_late())
        if self.open:
            self._watch(min(incoming.deadline for incoming in self.open.values()))

    def close(self) -> None:
        """Drop all calls: the stream is gone, and nobody can be answered."""
        if self._due is not None:
            self._due.cancel()
        for incoming in list(self.open.values()):
            incoming.done = True
            self._report(incoming, grpc.StatusCode.CANCELLED, "")
            incoming.dropped()
            incoming.forget()
        self.open.clear()
        self.changed()

    # --- waiting

    def changed(self) -> None:
        """Wake whoever waits in `until`."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def change(self) -> None:
        """Return when something has changed: calls ended, credit came, frames left."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    async def room(self, incoming: Incoming) -> None:
        """Return when the call may send one more reply."""
        while not incoming.done and (incoming.credit == 0 or self.outbox.unsent > self.table.options.unsent_bytes // 2):
            await self.change()


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _trace_id(seen: ItemTrace) -> str:
    return f"{span_of(seen).get_span_context().trace_id:032x}"
