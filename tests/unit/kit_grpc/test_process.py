"""A service as an operating system process: start, drain, exit status, and what it says."""

import asyncio
import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from services.kit.keys import ensure_keys
from tests.support.eventually import eventually
from tests.unit.kit_grpc.echo import pb, pb_grpc

_ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Process:
    """The echo service in a process; `stop` sends a signal and returns the exit status."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        self.settings = {
            "DATA_DIR": folder,
            "LISTEN": f"127.0.0.1:{self.port}",
            "METRICS_PORT": self.metrics_port,
            "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
            "OTLP_ENDPOINT": f"127.0.0.1:{free_port()}",
            "DRAIN_SECONDS": 5,
        } | settings
        ensure_keys(folder / "keys")

    async def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CANDELA_")}
        environment |= {f"CANDELA_{name}": str(value) for name, value in self.settings.items()}
        environment |= {"PYTHONPATH": f"{_ROOT}:{_ROOT}/clients/python/src", "PYTHONWARNINGS": "error"}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.unit.kit_grpc.process_main"),
            cwd=_ROOT,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end; keep what it printed in `out` and `lines`, and return the exit status."""
        out, err = await asyncio.wait_for(self.process.communicate(), 20)
        self.out, self.err = out.decode(), err.decode()
        self.lines = [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]
        return self.process.returncode or 0

    async def ready(self, stub: Any) -> None:
        async def answers() -> bool:
            try:
                await stub.Open(pb.EchoRequest(text="x"), timeout=1)
            except grpc.aio.AioRpcError:
                return False
            return True

        await eventually(answers, timeout=15)


@pytest_asyncio.fixture
async def new(tmp_path: Path) -> AsyncIterator[Callable[..., Process]]:
    made: list[Process] = []

    def make(**settings: Any) -> Process:
        made.append(Process(tmp_path, **settings))
        return made[-1]

    yield make
    for one in made:
        if hasattr(one, "process") and one.process.returncode is None:
            one.process.kill()
            await one.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_call_in_flight_finishes_when_the_process_is_told_to_stop(
    new: Callable[..., Process], number: signal.Signals
) -> None:
    process = new()
    await process.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        stub = pb_grpc.EchoServiceStub(channel)
        await process.ready(stub)
        call = stub.Bidi(timeout=10, metadata=())  # refused without a token, but the port answers
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        slow = asyncio.ensure_future(stub.Open(pb.EchoRequest(text="slow"), timeout=10))
        metrics = await asyncio.to_thread(_in_flight, process.metrics_port)
        process.process.send_signal(number)
        assert (await slow).text == "slow"
    assert await process.ended() == 0
    assert process.out == "closed\n"
    assert "rpc_server_requests_total" in metrics
    messages = [line["message"] for line in process.lines]
    assert messages.index("user is ready") < messages.index("user drains") < messages.index("user stopped")
    assert len(process.lines) == len(process.err.splitlines())  # nothing but JSON lines


def _in_flight(port: int) -> str:
    """Return the metrics page once it shows a call in flight."""
    wanted = 'rpc_server_in_flight{service="kit_testing.v1.EchoService"} 1.0'
    for _ in range(200):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            page: str = reply.read().decode()
        if wanted in page:
            return page
    raise AssertionError("no call in flight")


async def test_a_second_signal_ends_the_drain(new: Callable[..., Process]) -> None:
    process = new(DRAIN_SECONDS=600)
    await process.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        stub = pb_grpc.EchoServiceStub(channel)
        await process.ready(stub)
        endless = asyncio.ensure_future(stub.Open(pb.EchoRequest(text="wait"), timeout=60))
        await asyncio.to_thread(_in_flight, process.metrics_port)
        process.process.send_signal(signal.SIGTERM)

        def refuses() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", process.port)) != 0

        await eventually(refuses)
        assert await process.stop() == 0
        with pytest.raises(grpc.aio.AioRpcError):
            await endless


async def test_a_busy_port_ends_the_start_with_one_line(new: Callable[..., Process]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = new(LISTEN=f"127.0.0.1:{taken.getsockname()[1]}")
        await process.start()
        assert await process.ended() == 1
    (line,) = [line for line in process.lines if line["level"] in ("ERROR", "CRITICAL")]
    assert line["message"] == f"user cannot listen on {process.settings['LISTEN']}: Address already in use"
    assert "Traceback" not in process.err


async def test_a_busy_metrics_port_is_told_as_well(new: Callable[..., Process]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = new(METRICS_PORT=taken.getsockname()[1])
        await process.start()
        assert await process.ended() == 1
    assert "cannot show metrics" in process.err


async def test_wrong_settings_are_named_and_not_repeated(new: Callable[..., Process]) -> None:
    process = new(LISTEN="0.0.0.0:8091", DRAIN_SECONDS="hunter2")
    await process.start()
    assert await process.ended() == 2
    assert process.err.startswith("user: CANDELA_DRAIN_SECONDS: ")
    assert "hunter2" not in process.err


async def test_an_open_port_without_tls_is_refused(new: Callable[..., Process]) -> None:
    process = new(LISTEN="0.0.0.0:8091")
    await process.start()
    assert await process.ended() == 2
    assert "needs TLS" in process.err


async def test_missing_keys_are_told(new: Callable[..., Process], tmp_path: Path) -> None:
    process = new(KEYS_DIR=tmp_path / "nowhere")
    await process.start()
    assert await process.ended() == 1
    assert "cannot read the mesh key" in process.err
