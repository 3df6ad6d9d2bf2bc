"""How the load generator makes one request, over each protocol; what a caller sees becomes one of four outcomes."""

import asyncio
import http
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import grpc
from google.protobuf.message import Message
from opentelemetry import trace

from candela.inference.v1 import exchange_service_pb2
from services.kit.call import Call, Principal, handling
from services.kit.errors import CandelaError, DeadlineExceeded, ResourceExhausted
from services.kit.exchange.addresses import Addresses
from services.kit.exchange.client import Exchange, open_exchange
from services.kit.exchange.contract import Contract
from tests.bench.inference.accounts import Outcome
from tests.support.grpc_server import MeshKeys

EXCHANGE = f"/{exchange_service_pb2.DESCRIPTOR.services_by_name['ExchangeService'].full_name}/Exchange"
INFER = "/inference.GRPCInferenceService/ModelInfer"
_REFUSED_STATUS = {429, 503, 504, 408}
_REFUSED_CODES = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
_SAMPLED = 0.01


class Caller(Protocol):
    """Makes one request and says how it ended; a deadline of 0 is none."""

    async def __call__(self, deadline: float, priority: int = 2, tenant: str = "") -> Outcome: ...


class ExchangeCaller:
    """ModelInfer inside our Exchange, with deadline and trace context as a service of the mesh sends them."""

    def __init__(self, exchange: Exchange, request: Message) -> None:
        self._exchange = exchange
        self._request = request
        self._random = os.urandom
        self._number = 0

    async def __call__(self, deadline: float, priority: int = 2, tenant: str = "") -> Outcome:
        with trace.use_span(trace.NonRecordingSpan(self._span())):
            call = Call("/bench", Principal(tenant or "default", user="bench"))
            with handling(call):
                return await self._outcome(deadline, priority)

    async def _outcome(self, deadline: float, priority: int) -> Outcome:
        try:
            await self._exchange.call("infer", self._request, timeout=deadline or None, priority=priority)
        except ResourceExhausted:
            return "refused"
        except DeadlineExceeded:
            return "late"
        except CandelaError:
            return "failed"
        return "ok"

    def _span(self) -> trace.SpanContext:
        """Return a trace of its own for each call; one in a hundred is sampled at its head."""
        self._number += 1
        sampled = self._number % round(1 / _SAMPLED) == 0
        trace_id, span_id = int.from_bytes(self._random(16), "big"), int.from_bytes(self._random(8), "big")
        return trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=trace.TraceFlags(int(sampled)))


@asynccontextmanager
async def exchange_to(address: str, keys: Path) -> AsyncIterator[Exchange]:
    """Open an Exchange with our server as the recognition service does."""
    contract = Contract.of(EXCHANGE, {"infer": INFER}, idempotent={"infer"})
    identity = MeshKeys(keys).identity("recognition")
    async with open_exchange(
        "inference", contract, Addresses([address]), identity, trace.get_tracer("candela.bench")
    ) as exchange:
        yield exchange


class GrpcCaller:
    """A unary gRPC call of serialized bytes through grpcio, which carries the deadline."""

    def __init__(self, channel: grpc.aio.Channel, path: str, message: bytes, metadata: Mapping[str, str]) -> None:
        self._call: Callable[..., grpc.aio.UnaryUnaryCall[bytes, bytes]] = channel.unary_unary(path)
        self._message = message
        self._metadata = tuple(metadata.items())

    async def __call__(self, deadline: float, priority: int = 2, tenant: str = "") -> Outcome:
        try:
            await self._call(self._message, timeout=deadline or None, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return "late"
            return "refused" if error.code() in _REFUSED_CODES else "failed"
        return "ok"


class HttpCaller:
    """A POST over HTTP/1.1 on one of as many connections as it takes; at the deadline the connection is closed."""

    def __init__(self, address: str, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        lines = [f"POST {path} HTTP/1.1", f"host: {address}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._request = "\r\n".join([*lines, "", ""]).encode() + body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._open: set[asyncio.StreamWriter] = set()

    async def __call__(self, deadline: float, priority: int = 2, tenant: str = "") -> Outcome:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            async with asyncio.timeout(deadline or None):
                connection = self._idle.pop() if self._idle else await self._connect()
                status = await self._ask(*connection)
        except TimeoutError:
            outcome: Outcome = "late"
        except (OSError, EOFError, ValueError):
            outcome = "failed"
        else:
            self._idle.append(connection)
            if status == http.HTTPStatus.OK:
                return "ok"
            return "refused" if status in _REFUSED_STATUS else "failed"
        if connection is not None:
            connection[1].close()
        return outcome

    async def close(self) -> None:
        """Close every connection that is left and wait until all are gone."""
        for _, writer in self._idle:
            writer.close()
        for writer in list(self._open):
            with suppress(OSError):
                await writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = await asyncio.open_connection(self._host, self._port)
        self._open.add(connection[1])
        return connection

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(self._request)
        status, length = parse_head(await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(length)
        return status


def parse_head(head: bytes) -> tuple[int, int]:
    """Return status and body length of an HTTP/1.1 response; raises ValueError for one without a length."""
    first, _, rest = head.partition(b"\r\n")
    status = int(first.split(b" ", 2)[1])
    for line in rest.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return status, int(value)
    raise ValueError("a response without content-length")
