"""No accepted request fails while models are replaced and while the inference server is told to end, under load."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from opentelemetry.trace import NoOpTracer

from candela.inference.v1 import (
    model_service_pb2,
    model_service_pb2_grpc,
    ocr_pb2,
    ocr_service_pb2,
    ocr_service_pb2_grpc,
)
from inference_server.exchange import CONTRACT
from services.kit.errors import CandelaError
from services.kit.exchange.addresses import Addresses
from services.kit.exchange.client import open_exchange
from services.kit.exchange.options import ClientOptions
from services.kit.grpc_status import code_of
from tests.gateway.envoy import free_ports
from tests.support.child_process import exited_within, start, stop
from tests.support.double_server import NAME
from tests.support.eventually import eventually
from tests.support.grpc_server import MeshKeys

pytestmark = pytest.mark.timeout(120)

_ROOT = Path(__file__).parents[2]
_CALLERS = 32
_RELOADS = 8


@dataclass
class Server:
    """The server's process, where it listens, and the keys that it trusts."""

    process: subprocess.Popen[bytes]
    address: str
    keys: MeshKeys
    log: Path

    @property
    def token(self) -> Any:
        return self.keys.as_service("recognition", "inference")


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    (port,) = free_ports(1)
    keys = MeshKeys(folder / "keys")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{_ROOT}:{_ROOT / 'clients/python/src'}",
        "CANDELA_DATA_DIR": str(folder),
        "CANDELA_LISTEN": f"127.0.0.1:{port}",
        "CANDELA_METRICS_PORT": "0",
        "CANDELA_OTLP_ENDPOINT": "off",
    }
    command = [
        "/usr/bin/env",
        *(f"{name}={value}" for name, value in environment.items() if os.environ.get(name) != value),
    ]
    process = start(
        [*command, sys.executable, "-m", "tests.support.double_server"],
        folder=folder,
        log=folder / "log",
        identity={},
        parent_gone=signal.SIGTERM,
    )
    try:
        yield Server(process, f"127.0.0.1:{port}", keys, folder / "log")
    finally:
        stop(process, [signal.SIGTERM])


@dataclass
class Load:
    """What came of the calls so far."""

    answered: int = 0
    refused: list[grpc.StatusCode] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    with serving(tmp_path) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            await asyncio.wait_for(channel.channel_ready(), 60.0)
        yield server


Call = Callable[[ocr_service_pb2.DetectTextRequest], Awaitable[ocr_service_pb2.DetectTextResponse]]
Door = Callable[[Server], AbstractAsyncContextManager[Call]]


@asynccontextmanager
async def unary(server: Server) -> AsyncIterator[Call]:
    """Call the unary method."""
    token = server.token
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = ocr_service_pb2_grpc.OcrServiceStub(channel)

        async def call(request: ocr_service_pb2.DetectTextRequest) -> ocr_service_pb2.DetectTextResponse:
            response: ocr_service_pb2.DetectTextResponse = await stub.DetectText(request, timeout=20.0, metadata=token)
            return response

        yield call


@asynccontextmanager
async def exchange(server: Server) -> AsyncIterator[Call]:
    """Call over the coalescing stream, which sends again what a server that ends no longer took."""
    identity = server.keys.identity("recognition")
    async with open_exchange(
        "inference", CONTRACT, Addresses([server.address]), identity, NoOpTracer(), options=ClientOptions()
    ) as client:

        async def call(request: ocr_service_pb2.DetectTextRequest) -> ocr_service_pb2.DetectTextResponse:
            response: ocr_service_pb2.DetectTextResponse = await client.call("detect_text", request, timeout=20.0)
            return response

        yield call


@asynccontextmanager
async def calling(server: Server, door: Door) -> AsyncIterator[Load]:
    """Call from many callers at once for the block; each ends when it is refused by a server that ends."""
    load, leaving = Load(), asyncio.Event()
    request = ocr_service_pb2.DetectTextRequest(
        images=[ocr_pb2.PixelImage(width=4, height=2, format=ocr_pb2.PIXEL_FORMAT_RGB8, data=bytes(24))]
    )
    async with door(server) as call:

        async def caller() -> None:
            while not leaving.is_set():
                try:
                    response = await call(request)
                except grpc.aio.AioRpcError as error:
                    load.refused.append(error.code())
                    return
                except CandelaError as error:
                    load.refused.append(code_of(error))
                    return
                _note(load, response)

        callers = [asyncio.ensure_future(caller()) for _ in range(_CALLERS)]
        try:
            yield load
        finally:
            leaving.set()
            await asyncio.gather(*callers)


def _note(load: Load, response: ocr_service_pb2.DetectTextResponse) -> None:
    (result,) = response.results
    load.answered += 1
    load.versions.add(response.model)
    if result.HasField("error"):
        load.failed.append(_text(result.error))


def _text(status: status_pb2.Status) -> str:
    return f"{status.code}: {status.message}"


@pytest.mark.parametrize("door", [unary, exchange])
async def test_no_request_fails_while_the_model_is_replaced(server: Server, door: Door) -> None:
    async with calling(server, door) as load, grpc.aio.insecure_channel(server.address) as channel:
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        for _ in range(_RELOADS):
            before = load.answered
            await models.LoadModel(model_service_pb2.LoadModelRequest(name=NAME), metadata=server.token)
            await eventually(_more_than(load, before + 2 * _CALLERS), timeout=20.0)
    assert (load.refused, load.failed) == ([], [])
    assert load.versions >= {f"{NAME}@{version}" for version in range(2, _RELOADS + 1)}


async def test_every_accepted_request_is_answered_when_the_server_is_told_to_end(server: Server) -> None:
    """A call that no longer reaches a handler ends with UNAVAILABLE, or with CANCELLED when gRPC held it already."""
    async with calling(server, unary) as load:
        await ended(server, load)
    assert load.failed == []
    assert set(load.refused) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert accesses(server) == ["OK"] * load.answered, "what was accepted, and nothing else, was answered"


async def test_over_exchange_a_server_that_ends_answers_what_it_took(server: Server) -> None:
    """The rest waits for another replica, and there is none."""
    async with calling(server, exchange) as load:
        await ended(server, load)
    assert load.failed == []
    assert set(load.refused) == {grpc.StatusCode.UNAVAILABLE}
    assert accesses(server) == [], "only failures are logged"


async def ended(server: Server, load: Load) -> None:
    """Tell a server under load to end, and wait until it has, and until every caller was told."""
    await eventually(_more_than(load, 10 * _CALLERS), timeout=20.0)
    server.process.send_signal(signal.SIGTERM)
    await eventually(lambda: len(load.refused) == _CALLERS, timeout=30.0)
    assert exited_within(server.process, 20.0)
    assert server.process.returncode == 0
    assert not [line for line in lines(server) if line["level"] in ("ERROR", "CRITICAL")]


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines()]


def accesses(server: Server) -> list[str]:
    """Return the codes of all logged detections."""
    logged = [line for line in lines(server) if line["logger"] == "candela.access"]
    return [line["code"] for line in logged if "DetectText" in line["message"]]


def _more_than(load: Load, answered: int) -> Callable[[], bool | Awaitable[bool]]:
    return lambda: load.answered > answered
