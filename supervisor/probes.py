"""Asking a process whether it is well: gRPC health, Redis PING, HTTP. Only loopback, only the supervisor's own loop."""

import asyncio
import ssl
from contextlib import closing
from enum import Enum
from typing import Protocol

import grpc.aio

from supervisor.specs import GrpcHealth, HttpOk, Probe, RedisPing

_HOST = "127.0.0.1"
_MAX_REPLY = 64 * 1024
_SERVING = b"\x08\x01"


class Health(Enum):
    """What a probe found."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    """It answered that it cannot serve now; it may be waiting for something else."""
    UNREACHABLE = "unreachable"
    """It did not answer."""


class HealthProbe(Protocol):
    """Asks one process, again and again."""

    async def check(self) -> Health:
        """Probe once; never raises for whatever the other side does."""

    async def close(self) -> None:
        """Let go of what is kept between probes; the next `check` begins afresh."""


class Prober:
    """Probes one process again and again, over one kept channel where the protocol has channels."""

    def __init__(self, probe: Probe, *, timeout: float = 2.0) -> None:
        self._probe = probe
        self._timeout = timeout
        self._channel: grpc.aio.Channel | None = None

    async def check(self) -> Health:
        """Probe once; never raises for whatever the other side does. Takes at most the timeout."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ask()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return Health.UNREACHABLE

    async def close(self) -> None:
        """Let the channel go."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _ask(self) -> Health:
        match self._probe:
            case GrpcHealth(port):
                return await self._ask_grpc(port)
            case RedisPing(port, password_file):
                return await _ask_redis(port, password_file.read_text().strip())
            case HttpOk(port, path, host, tls):
                status, _ = await http_request(port, path, host=host, tls=tls)
                return Health.HEALTHY if status == 200 else Health.UNHEALTHY

    async def _ask_grpc(self, port: int) -> Health:
        if self._channel is None:
            # A refused connect costs microseconds, so the channel is only made when somebody listens: grpc would
            # wait out its reconnect back-off, which is longer than a restart takes.
            _, writer = await asyncio.open_connection(_HOST, port)
            writer.close()
            self._channel = grpc.aio.insecure_channel(
                f"{_HOST}:{port}", options=(("grpc.use_local_subchannel_pool", 1),)
            )
        # The two messages are so small that their bytes are written out: an empty request, `status: SERVING`.
        check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check"
        )
        try:
            reply = await check(b"", timeout=self._timeout)
        except grpc.aio.AioRpcError:
            await self.close()
            return Health.UNREACHABLE
        return Health.HEALTHY if reply == _SERVING else Health.UNHEALTHY


async def _ask_redis(port: int, password: str) -> Health:
    reader, writer = await asyncio.open_connection(_HOST, port)
    with closing(writer):
        writer.write(b"AUTH %b\r\nPING\r\n" % password.encode())
        await reader.readuntil(b"\r\n")
        # A Redis that still reads its append-only file says -LOADING here.
        answer = await reader.readuntil(b"\r\n")
        return Health.HEALTHY if answer == b"+PONG\r\n" else Health.UNHEALTHY


async def http_request(
    port: int, path: str, *, method: str = "GET", host: str = _HOST, tls: bool = False
) -> tuple[int, bytes]:
    """Send one HTTP/1.1 request; return the status and up to 64 KiB of the body as they arrived.

    Raises OSError, asyncio.IncompleteReadError or asyncio.LimitOverrunError when the other side goes away, or talks
    something else.
    """
    reader, writer = await asyncio.open_connection(host, port, ssl=_unverified() if tls else None)
    with closing(writer):
        head = f"{method} {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        writer.write(head.encode())
        status_line = await reader.readuntil(b"\r\n")
        parts = status_line.split(b" ", 2)
        if len(parts) < 2 or not parts[1].isdigit():
            raise OSError("not an HTTP answer")
        rest = bytearray()
        while (chunk := await reader.read(_MAX_REPLY - len(rest))) and len(rest) < _MAX_REPLY:
            rest += chunk
        return int(parts[1]), bytes(rest).partition(b"\r\n\r\n")[2]


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
