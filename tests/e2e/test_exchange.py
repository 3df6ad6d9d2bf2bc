"""The coalescing stream of a running mesh: what it is worth, who may use it, and that a restart loses nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from PIL import Image

from candela.inference.v1 import exchange_service_pb2_grpc, ocr_pb2, ocr_service_pb2, ocr_service_pb2_grpc
from services.kit.channel import open_channel
from services.kit.errors import InvalidArgument, NotFound
from services.kit.exchange.addresses import Addresses
from services.kit.exchange.client import Exchange, open_exchange
from services.kit.exchange.options import ClientOptions
from services.kit.exchange.stubs import ExchangeChannel
from services.kit.identity import ServiceIdentity
from services.recognition.providers.inference import CONTRACT
from tests.support.edge import Edge
from tests.support.eventually import eventually
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import frozen, metric, terminate
from tests.support.printed_page import png, print_page

TRACER = trace.NoOpTracer()
PATIENT = ClientOptions(connect_seconds=30.0)  # longer than a process takes to start
PRINTED = "Lighthouse"


def picture(word: str = PRINTED) -> Any:
    page: Image.Image = print_page([word]).convert("RGB").crop((0, 0, 640, 320))  # a corner: quickly read
    return ocr_pb2.PixelImage(
        width=page.width, height=page.height, format=ocr_pb2.PIXEL_FORMAT_RGB8, data=page.tobytes()
    )


def detect(model: str = "") -> Any:
    return ocr_service_pb2.DetectTextRequest(model=model, images=[picture()])


def address(mesh: Mesh) -> str:
    return f"127.0.0.1:{mesh.ports.service('inference')}"


def identity(mesh: Mesh) -> ServiceIdentity:
    return ServiceIdentity.load("recognition", mesh.data.keys)


@asynccontextmanager
async def exchanging(mesh: Mesh) -> AsyncIterator[Exchange]:
    async with open_exchange("inference", CONTRACT, Addresses([address(mesh)]), identity(mesh), TRACER) as exchange:
        yield exchange


async def test_both_doors_to_a_model_say_the_same(mesh: Mesh) -> None:
    async with (
        exchanging(mesh) as exchange,
        open_channel("inference", [address(mesh)], identity(mesh), TRACER) as channel,
    ):
        doors: list[Any] = [ocr_service_pb2_grpc.OcrServiceStub(one) for one in (channel, ExchangeChannel(exchange))]
        answers = [await door.DetectText(detect(), timeout=30.0) for door in doors]
        assert answers[0].model == answers[1].model
        found = [[region.score for region in answer.results[0].regions.regions] for answer in answers]
        assert len(found[0]) == 1
        assert found[0] == pytest.approx(found[1], abs=1e-3)
        for request, kind in (
            (detect("no-such-model"), NotFound),
            (ocr_service_pb2.DetectTextRequest(), InvalidArgument),
        ):
            errors = []
            for door in doors:
                with pytest.raises(kind) as caught:
                    await door.DetectText(request, timeout=30.0)
                errors.append((str(caught.value), caught.value.reason, caught.value.metadata))
            assert errors[0] == errors[1]


async def test_reading_a_document_goes_through_it(mesh: Mesh) -> None:
    before = metric(mesh, "inference", "rpc_server_in_flight", service="candela.inference.v1.ExchangeService")
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        answer = await asyncio.to_thread(edge.recognize, png(print_page([PRINTED])))
        assert answer.json()["document"]["text"] == f"{PRINTED}\n"
    streams = metric(mesh, "inference", "rpc_server_in_flight", service="candela.inference.v1.ExchangeService")
    assert streams >= max(before, 1)


@pytest.mark.parametrize("who", ["nobody", "a user"])
async def test_only_services_have_a_stream(mesh: Mesh, who: str) -> None:
    metadata: tuple[tuple[str, str], ...] = ()
    if who == "a user":
        with Edge(mesh.edge) as edge:
            edge.sign_up()
            metadata = (("authorization", f"Bearer {edge.token}"),)
    async with grpc.aio.insecure_channel(address(mesh)) as channel:
        stream = exchange_service_pb2_grpc.ExchangeServiceStub(channel).Exchange(metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        expected = grpc.StatusCode.UNAUTHENTICATED if who == "nobody" else grpc.StatusCode.PERMISSION_DENIED
        assert caught.value.code() is expected


async def test_the_edge_has_no_way_to_it(mesh: Mesh) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.ports.edge}") as channel:
        stream = exchange_service_pb2_grpc.ExchangeServiceStub(channel).Exchange()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.timeout(180)
async def test_a_rolling_restart_loses_no_call(mesh: Mesh) -> None:
    """SIGTERM under load: what was accepted is answered, what comes meanwhile waits for the next process."""
    stop = asyncio.Event()
    answered: list[int] = []

    async def caller(number: int, exchange: Exchange) -> None:
        while not stop.is_set():
            response = await exchange.call("detect_text", detect(), timeout=60.0)
            assert len(response.results) == 1
            answered.append(number)

    async with open_exchange(
        "inference",
        CONTRACT,
        Addresses([address(mesh)]),
        identity(mesh),
        TRACER,
        options=PATIENT,
    ) as exchange:
        callers = [asyncio.create_task(caller(number, exchange)) for number in range(4)]
        await eventually(lambda: len(answered) >= 4, timeout=30.0)
        old = await asyncio.to_thread(terminate, mesh, "inference")
        await asyncio.to_thread(mesh.wait_until_back, "inference", old, timeout=60.0)
        enough = len(answered) + 8
        await eventually(lambda: len(answered) >= enough, timeout=60.0)
        stop.set()
        await asyncio.gather(*callers)


async def test_a_server_that_hangs_is_noticed(mesh: Mesh) -> None:
    async with open_exchange("inference", CONTRACT, Addresses([address(mesh)]), identity(mesh), TRACER) as exchange:
        await exchange.call("detect_text", detect(), timeout=30.0)
        assert exchange.streams == 1
        with frozen(mesh, "inference"):
            await eventually(lambda: exchange.streams == 0, timeout=20.0)
        await eventually(lambda: exchange.streams == 1, timeout=60.0)
        await exchange.call("detect_text", detect(), timeout=30.0)
