"""The caller's side of an Exchange.

    async with mesh.exchange("inference", CONTRACT) as inference:
        response = await inference.call("detect_text", request, timeout=5.0)
        async with aclosing(inference.stream("generate", request)) as replies:
            async for reply in replies: ...

All calls that are ready in one turn of the loop leave in one frame. What a call carries (time left, user, trace) comes
from the call being handled, as on a channel of the kit; errors are those of our tree.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import grpc
from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from observability import names
from services.kit.call import call_or_none
from services.kit.channel import replica_channel
from services.kit.errors import CandelaError, DeadlineExceeded
from services.kit.exchange.addresses import Addresses
from services.kit.exchange.book import Book
from services.kit.exchange.contract import Contract
from services.kit.exchange.lane import Lane
from services.kit.exchange.options import ClientOptions
from services.kit.exchange.pending import NORMAL, ManyReplies, Pending
from services.kit.grpc_status import code_of
from services.kit.identity import ServiceIdentity
from services.kit.pipeline.item_telemetry import Tally
from services.kit.pipeline.methods import Methods
from services.kit.tasks import end

_LOG = logging.getLogger(__name__)
_SOONEST = 0.005  # deadlines are looked at this often at most, in seconds


class _Replica:
    """One server: its channel and its two lanes."""

    def __init__(self, channel: grpc.aio.Channel, small: Lane, large: Lane) -> None:
        self.channel = channel
        self.small = small
        self.large = large


class Exchange:
    """Calls to one service over a stream to each of its replicas. Nothing is dialled before the first call."""

    def __init__(
        self,
        callee: str,
        contract: Contract,
        addresses: Addresses,
        identity: ServiceIdentity,
        tracer: trace.Tracer,
        *,
        options: ClientOptions | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._callee = callee
        self.contract = contract
        self._addresses = addresses
        self._identity = identity
        self._tracer = tracer
        self._options = options or ClientOptions()
        self._credentials = credentials
        self._infos = contract.infos(Methods())
        self._book = Book(self._options, self._ended, self._schedule, self._dial_large)
        self._tally = Tally(names.CLIENT_REQUESTS, names.CLIENT_DURATION)
        self._replicas: dict[str, _Replica] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._following: asyncio.Task[None] | None = None
        self._wants_large = False
        self._scheduled = False
        self._due: asyncio.TimerHandle | None = None
        self._due_at = inf
        self._traced: tuple[Any, str] = (None, "")

    @property
    def streams(self) -> int:
        """How many replicas a small call could be sent to now."""
        return len(self._book.small)

    # --- calls

    async def call(
        self,
        member: str,
        request: Message,
        *,
        timeout: float | None = None,
        priority: int = NORMAL,
        request_id: str = "",
    ) -> Any:
        """Make a call with one reply and return it. `priority` is a candela.exchange.v1.Priority.

        Without `timeout` the time of the call being handled bounds it, else only the server does. Raises CandelaError:
        what the service answered, Unavailable when no replica can be reached, DeadlineExceeded.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        pending = Pending(member, self._infos[member], request, future)
        self._begin(pending, timeout, priority, request_id)
        try:
            return await future
        except asyncio.CancelledError:
            self._book.abandon(pending)
            raise

    def stream(
        self,
        member: str,
        request: Message,
        *,
        timeout: float | None = None,
        priority: int = NORMAL,
        request_id: str = "",
    ) -> ManyReplies:
        """Begin a call with many replies. Leaving them before their end must be followed by `aclose`."""
        pending = Pending(member, self._infos[member], request, None)
        pending.many = ManyReplies(pending, self._book, self._options.reply_window)
        self._begin(pending, timeout, priority, request_id)
        return pending.many

    def _begin(self, pending: Pending, timeout: float | None, priority: int, request_id: str) -> None:
        if timeout is not None:
            pending.deadline = pending.started + timeout
        call = call_or_none()
        if call is not None:
            if call.deadline is not None and call.deadline < pending.deadline:
                pending.deadline = call.deadline
            pending.actor = call.principal
        if pending.deadline <= pending.started:
            raise DeadlineExceeded("the call's deadline passed")
        pending.priority = priority or NORMAL
        pending.request_id = request_id
        self._trace(pending)
        try:
            self._book.begin(pending)
        except CandelaError as error:
            self._ended(pending, error)
            raise
        if self._following is None:
            # In a context of its own: what lives on belongs to no call.
            self._following = asyncio.create_task(
                self._follow(), name=f"replicas of {self._callee}", context=contextvars.Context()
            )
        self._watch(min(pending.deadline, pending.wait_until))

    def _trace(self, pending: Pending) -> None:
        """Let the call be part of the current trace. Without one it has none: the server samples for itself."""
        current = trace.get_current_span()
        if current.is_recording():
            attributes = {
                names.RPC_SYSTEM: "grpc",
                names.RPC_METHOD: pending.info.name,
                names.SERVER_ADDRESS: self._callee,
            }
            span = pending.span = self._tracer.start_span(
                pending.info.name, kind=SpanKind.CLIENT, attributes=attributes
            )
            pending.traceparent = _traceparent(span.get_span_context())
            return
        context = current.get_span_context()
        if context.is_valid:
            if self._traced[0] != context:  # calls of one turn mostly share theirs
                self._traced = (context, _traceparent(context))
            pending.traceparent = self._traced[1]

    def _ended(self, pending: Pending, error: CandelaError | None) -> None:
        code = grpc.StatusCode.OK if error is None else code_of(error)
        self._tally.add(pending.info, code, time.monotonic() - pending.started)
        span = pending.span
        if span is not None:
            span.set_attribute(names.RPC_STATUS, code.name)
            if code is not grpc.StatusCode.OK:
                span.set_attribute(names.ERROR_TYPE, code.name)
                span.set_status(Status(StatusCode.ERROR, code.name))
            span.end()

    # --- turns and time

    def _schedule(self) -> None:
        """Send what is ready at the end of this turn of the loop, together."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._assign)

    def _assign(self) -> None:
        self._scheduled = False
        self._book.assign()

    def _watch(self, moment: float) -> None:
        """Look at deadlines when the next one passes: one timer for all calls."""
        if moment >= self._due_at:
            return
        if self._due is not None:
            self._due.cancel()
        self._due_at = moment
        self._due = asyncio.get_running_loop().call_later(max(_SOONEST, moment - time.monotonic()), self._expire)

    def _expire(self) -> None:
        self._due, self._due_at = None, inf
        following = self._book.expire()
        if following is not None and following != inf:
            self._watch(following)

    # --- replicas

    async def _follow(self) -> None:
        """Keep a stream to every replica there is."""
        while True:
            try:
                addresses = await self._addresses.now()
            except OSError as exc:
                _LOG.warning("the replicas of %s cannot be looked up: %s", self._callee, exc)
                await asyncio.sleep(self._options.longest_pause_seconds)
                continue
            self._use(addresses)
            if not self._addresses.changing:
                return
            await asyncio.sleep(self._options.resolve_seconds)

    def _use(self, addresses: tuple[str, ...]) -> None:
        for address in [known for known in self._replicas if known not in addresses]:
            task = asyncio.create_task(self._leave(self._replicas.pop(address)))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for address in addresses:
            if address not in self._replicas:
                replica = self._replicas[address] = self._replica(address, several=len(addresses) > 1)
                replica.small.start()
                if self._wants_large:
                    replica.large.start()

    def _replica(self, address: str, *, several: bool) -> _Replica:
        authority = self._addresses.authority or (self._callee if several else "")
        channel = replica_channel(address, self._credentials, authority)
        small, large = (
            Lane(address, channel, self.contract, self._options, self._book, self._metadata, large=large)
            for large in (False, True)
        )
        return _Replica(channel, small, large)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return self._identity.metadata_for(self._callee)

    def _dial_large(self) -> None:
        if not self._wants_large:
            self._wants_large = True
            for replica in self._replicas.values():
                replica.large.start()

    async def _leave(self, replica: _Replica) -> None:
        await asyncio.gather(replica.small.leave(), replica.large.leave())
        await replica.channel.close()

    async def close(self) -> None:
        """End all calls with Unavailable, all streams and all channels."""
        if self._following is not None:
            await end(self._following)
        if self._due is not None:
            self._due.cancel()
        self._book.close()
        for task in list(self._leaving):
            await end(task)
        for replica in self._replicas.values():
            await asyncio.gather(replica.small.close(), replica.large.close())
            await replica.channel.close()
        self._replicas.clear()


def _traceparent(context: trace.SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@asynccontextmanager
async def open_exchange(
    callee: str,
    contract: Contract,
    addresses: Addresses,
    identity: ServiceIdentity,
    tracer: trace.Tracer,
    *,
    options: ClientOptions | None = None,
    credentials: grpc.ChannelCredentials | None = None,
) -> AsyncIterator[Exchange]:
    """Give an Exchange with the service `callee` inside the block."""
    exchange = Exchange(callee, contract, addresses, identity, tracer, options=options, credentials=credentials)
    try:
        yield exchange
    finally:
        await exchange.close()
