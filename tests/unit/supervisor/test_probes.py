"""Asking processes whether they are well, over real loopback connections to servers that say what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from supervisor.drain import drain
from supervisor.own_logs import bound
from supervisor.probes import Health, Prober
from supervisor.specs import Drain, GrpcHealth, HttpOk, OwnLog, Probe, RedisPing

_HTTP_HEAD = b"HTTP/1.1 200 OK\r\nserver: envoy\r\n\r\n"
_HTTP_OK = _HTTP_HEAD + b"ok"


@asynccontextmanager
async def saying(answer: bytes | Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """Serves one answer to whatever is asked first, then closes; gives the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read(65536)
        writer.write(answer(asked) if callable(answer) else answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()


async def check(probe: Probe, timeout: float = 2.0) -> Health:
    prober = Prober(probe, timeout=timeout)
    try:
        return await prober.check()
    finally:
        await prober.close()


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (_HTTP_OK, Health.HEALTHY),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Health.UNHEALTHY),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Health.UNREACHABLE),
        (b"", Health.UNREACHABLE),
        (b"x" * 200_000, Health.UNREACHABLE),
    ],
)
async def test_http(answer: bytes, health: Health) -> None:
    async with saying(answer) as port:
        assert await check(HttpOk(port, "/ready")) is health


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (b"+OK\r\n+PONG\r\n", Health.HEALTHY),
        (b"+OK\r\n-LOADING Redis is loading the dataset in memory\r\n", Health.UNHEALTHY),
        (b"-ERR invalid password\r\n-NOAUTH Authentication required.\r\n", Health.UNHEALTHY),
        (b"+OK\r\n", Health.UNREACHABLE),
    ],
)
async def test_redis(answer: bytes, health: Health, tmp_path: Path) -> None:
    password = tmp_path / "redis.password"
    password.write_text("secret\n")
    asked = []

    def reply(request: bytes) -> bytes:
        asked.append(request)
        return answer

    async with saying(reply) as port:
        assert await check(RedisPing(port, password)) is health
    assert asked == [b"AUTH secret\r\nPING\r\n"]


@pytest.mark.parametrize(
    ("reply", "health"),
    [
        (b"\x08\x01", Health.HEALTHY),
        (b"\x08\x02", Health.UNHEALTHY),
        (b"", Health.UNHEALTHY),
        (None, Health.UNREACHABLE),
    ],
)
async def test_grpc(reply: bytes | None, health: Health) -> None:
    async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if reply is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED)
        return reply

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Check": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert await check(GrpcHealth(port)) is health
    finally:
        await server.stop(None)


async def test_nobody_listens() -> None:
    async with saying(b"") as port:
        pass
    assert await check(GrpcHealth(port)) is Health.UNREACHABLE
    assert await check(HttpOk(port, "/ready")) is Health.UNREACHABLE


async def test_somebody_who_never_answers_is_unreachable_after_the_timeout() -> None:
    silent = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    try:
        assert await check(HttpOk(port, "/ready"), timeout=0.05) is Health.UNREACHABLE
        assert await check(GrpcHealth(port), timeout=0.05) is Health.UNREACHABLE
    finally:
        silent.set()
        server.close()
        await server.wait_closed()


async def test_draining_waits_until_no_request_is_active() -> None:
    active = [b"2", b"1", b"0"]
    asked = []

    def admin(request: bytes) -> bytes:
        asked.append(request.split(b" HTTP")[0])
        if request.startswith(b"POST"):
            return _HTTP_OK
        number = active.pop(0)
        statistics = b"http.edge.downstream_rq_active: %b\nhttp.admin.downstream_rq_active: 1\n" % number
        return _HTTP_HEAD + statistics

    async with saying(admin) as port:
        assert await drain(Drain(port, r"^http\.edge\."), timeout=5)
    assert asked[0] == b"POST /drain_listeners"
    assert active == []


async def test_draining_gives_up_at_the_timeout() -> None:
    async with saying(_HTTP_HEAD + b"http.edge.downstream_rq_active: 1\n") as port:
        assert not await drain(Drain(port, r"^http\.edge\."), timeout=0.2)


async def test_a_proxy_that_is_gone_is_drained() -> None:
    async with saying(b"") as port:
        pass
    assert await drain(Drain(port, "x"), timeout=5)


async def test_a_full_log_is_renamed_and_the_proxy_told(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    asked = []

    def admin(request: bytes) -> bytes:
        asked.append(request.split(b" HTTP")[0])
        return _HTTP_OK

    async with saying(admin) as port:
        path.write_text("small")
        assert not await bound(OwnLog(path, port), max_bytes=10)
        path.write_text("large enough")
        assert await bound(OwnLog(path, port), max_bytes=10)
    assert asked == [b"POST /reopen_logs"]
    assert (tmp_path / "access.log.1").read_text() == "large enough"
    assert not path.exists()
