"""The coalescing door to models: every RPC through it says what its unary method says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from candela.exchange.v1 import exchange_pb2
from candela.inference.v1 import (
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    exchange_service_pb2,
    exchange_service_pb2_grpc,
    ocr_service_pb2,
    ocr_service_pb2_grpc,
    plate_service_pb2,
    plate_service_pb2_grpc,
)
from inference_server.batching import Priority
from inference_server.engine import Bounds
from inference_server.exchange import CONTRACT, handlers_of
from inference_server.host import ModelHost
from inference_server.main import bindings_of
from inference_server.models.catalogue import Task
from inference_server.models.device import Device
from inference_server.models.source import ready_made
from inference_server.oip.servicer import OipServicer
from inference_server.settings import InferenceSettings
from kserve import grpc_service_pb2, grpc_service_pb2_grpc
from observability.telemetry import start_telemetry
from services.kit.access import Access, Level
from services.kit.clock import SystemClock
from services.kit.exchange.door import Door
from services.kit.exchange.options import DoorOptions
from services.kit.grpc_status import STATUS_TRAILER
from services.kit.server import Binding
from tests.support.eventually import eventually
from tests.support.grpc_server import RunningServer, running_server
from tests.unit.inference.readers import Counter, Finder, PlateFinder, PlateReader, Reader
from tests.unit.inference.serving import bright, image

Call = exchange_service_pb2.Call


class Held(Counter):
    """Embeds what a test lets through, one text at a time, and notes in which order."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.go = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def run(self, batch: Any) -> Any:
        self.seen += batch
        if "hold" in batch:
            asyncio.run_coroutine_threadsafe(self.go.wait(), self.loop).result(20.0)
        return super().run(batch)


@dataclass
class Served:
    server: RunningServer
    stream: Any
    host: ModelHost
    number: int = 0

    async def send(self, *calls: tuple[str, Any], **context: Any) -> list[int]:
        """Send calls in one frame and return their ids."""
        first = self.number + 1
        self.number += len(calls)
        made = [
            Call(id=first + index, context=exchange_pb2.CallContext(**context), **{member: request})
            for index, (member, request) in enumerate(calls)
        ]
        await self.stream.write(exchange_service_pb2.CallFrame(calls=made))
        return [call.id for call in made]

    async def replies(self, count: int) -> dict[int, Any]:
        """Return what so many calls were answered, by their ids."""
        found: dict[int, Any] = {}
        while len(found) < count:
            frame = await asyncio.wait_for(self.stream.read(), 10.0)
            for reply in frame.replies:
                if reply.id:
                    assert reply.last
                    found[reply.id] = getattr(reply, reply.WhichOneof("result"))
        return found

    async def ask(self, member: str, request: Any, **context: Any) -> Any:
        (number,) = await self.send((member, request), **context)
        return (await self.replies(1))[number]


@asynccontextmanager
async def serve(counter: Any = None, max_items: int = 100) -> AsyncIterator[Served]:
    telemetry = start_telemetry("inference")
    models: list[tuple[Task | None, Any]] = [
        (Task.DETECT_TEXT, Finder()),
        (Task.RECOGNIZE_TEXT, Reader()),
        (Task.DETECT_PLATES, PlateFinder()),
        (Task.READ_PLATES, PlateReader()),
        (Task.EMBED_TEXTS, counter or Counter()),
    ]
    bounds = Bounds(max_items=max_items, timing_seconds=0.0)
    host = ModelHost([ready_made(*models)], SystemClock(), telemetry.tracer, bounds=bounds, linger_seconds=0.0)
    await host.start()
    door = Door(CONTRACT, handlers_of(host), DoorOptions(sampled=0.0))
    exchange = Binding(exchange_service_pb2_grpc.add_ExchangeServiceServicer_to_server, door)
    oip = Binding(
        grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server,
        OipServicer(host, InferenceSettings(), asyncio.Event()),
        Access(Level.SERVICE),
    )
    async with running_server(*bindings_of(host, Device.CPU), exchange, oip, service="inference") as server:
        stub = exchange_service_pb2_grpc.ExchangeServiceStub(server.channel)
        stream = stub.Exchange(metadata=server.as_service("recognition"))
        yield Served(server, stream, host)
        stream.cancel()
    await host.close(5.0)
    telemetry.close()


def embed(*texts: str) -> Any:
    return embedding_service_pb2.EmbedTextsRequest(texts=texts)


OCR, PLATES, EMBEDDINGS, OIP = (
    ocr_service_pb2_grpc.OcrServiceStub,
    plate_service_pb2_grpc.PlateServiceStub,
    embedding_service_pb2_grpc.EmbeddingServiceStub,
    grpc_service_pb2_grpc.GRPCInferenceServiceStub,
)
CASES: dict[str, tuple[Any, str, str, Any]] = {
    "text": (OCR, "DetectText", "detect_text", ocr_service_pb2.DetectTextRequest(images=[image(4, 2), bright()])),
    "no such detector": (
        OCR,
        "DetectText",
        "detect_text",
        ocr_service_pb2.DetectTextRequest(model="x", images=[image()]),
    ),
    "no pictures": (OCR, "DetectText", "detect_text", ocr_service_pb2.DetectTextRequest()),
    "lines": (OCR, "RecognizeText", "recognize_text", ocr_service_pb2.RecognizeTextRequest(crops=[image()] * 5)),
    "plates": (PLATES, "DetectPlates", "detect_plates", plate_service_pb2.DetectPlatesRequest(images=[image(4, 2)])),
    "no plates": (PLATES, "DetectPlates", "detect_plates", plate_service_pb2.DetectPlatesRequest()),
    "plate texts": (PLATES, "ReadPlates", "read_plates", plate_service_pb2.ReadPlatesRequest(crops=[image(7, 2)])),
    "vectors": (EMBEDDINGS, "EmbedTexts", "embed_texts", embed("one", "   ", "three")),
    "no texts": (EMBEDDINGS, "EmbedTexts", "embed_texts", embed()),
    "an unknown model": (OIP, "ModelInfer", "infer", grpc_service_pb2.ModelInferRequest(model_name="x")),
    "no model": (OIP, "ModelInfer", "infer", grpc_service_pb2.ModelInferRequest()),
    "a model without tensors": (OIP, "ModelInfer", "infer", grpc_service_pb2.ModelInferRequest(model_name="finder")),
}


@pytest.mark.parametrize("name", CASES)
async def test_both_doors_say_the_same(name: str) -> None:
    stub, method, member, request = CASES[name]
    async with serve() as served:
        call = getattr(stub(served.server.channel), method)(request, metadata=served.server.as_service("recognition"))
        try:
            unary: Any = await call
        except grpc.aio.AioRpcError as error:
            unary = status_pb2.Status.FromString(dict(error.trailing_metadata() or ())[STATUS_TRAILER])
        exchanged = await served.ask(member, request)
        assert type(exchanged) is type(unary)
        assert without_traces(exchanged) == without_traces(unary)


def without_traces(message: Any) -> Any:
    """Return a copy without the trace ids, which differ from call to call."""
    copy = type(message)()
    copy.CopyFrom(message)
    statuses = [copy] if isinstance(copy, status_pb2.Status) else [one.error for one in getattr(copy, "results", ())]
    for status in statuses:
        kept = [one for one in status.details if not one.type_url.endswith("google.rpc.RequestInfo")]
        del status.details[:]
        status.details.extend(kept)
    return copy


async def test_calls_of_a_frame_share_batches() -> None:
    held = Held()
    async with serve(held) as served:
        numbers = await served.send(*(("embed_texts", embed(f"t{index}")) for index in range(16)))
        replies = await served.replies(16)
        assert [replies[number].results[0].embedding.tokens for number in numbers] == [2] * 10 + [3] * 6


async def test_a_cancelled_call_never_runs() -> None:
    held = Held()
    async with serve(held) as served:
        await served.send(("embed_texts", embed("hold")))
        await eventually(lambda: held.seen == ["hold"])
        wanted, unwanted = await served.send(("embed_texts", embed("wanted")), ("embed_texts", embed("unwanted")))
        word = Call(id=unwanted)
        word.cancel.SetInParent()
        await served.stream.write(exchange_service_pb2.CallFrame(calls=[word]))
        assert (await served.replies(1))[unwanted].code == grpc.StatusCode.CANCELLED.value[0]
        held.go.set()
        assert wanted in await served.replies(2)
        assert held.seen == ["hold", "wanted"]


async def test_a_caller_that_goes_away_takes_its_calls_along() -> None:
    held = Held()
    async with serve(held) as served:
        await served.send(("embed_texts", embed("hold")), ("embed_texts", embed("hold")))
        await eventually(lambda: "hold" in held.seen)
        await served.send(*(("embed_texts", embed(f"t{index}")) for index in range(5)))
        async with serve_again(served) as other:
            await other.ask("detect_text", ocr_service_pb2.DetectTextRequest(images=[image()]))
            engine = served.host.find(Task.EMBED_TEXTS, "")
            assert engine.waiting >= 5
            served.stream.cancel()
            await eventually(lambda: engine.waiting == 0)
            held.go.set()
            assert (await other.ask("embed_texts", embed("after"))).results[0].embedding.tokens == 5
        assert [text for text in held.seen if text.startswith("t")] == []


@asynccontextmanager
async def serve_again(served: Served) -> AsyncIterator[Served]:
    """Open one more stream to the same server."""
    stub = exchange_service_pb2_grpc.ExchangeServiceStub(served.server.channel)
    stream = stub.Exchange(metadata=served.server.as_service("recognition"))
    yield Served(served.server, stream, served.host)
    stream.cancel()


async def test_calls_beyond_the_queue_are_refused_at_once_and_others_are_not() -> None:
    held = Held()
    async with serve(held, max_items=4) as served:
        await served.send(("embed_texts", embed("hold")))
        await eventually(lambda: held.seen == ["hold"])
        await served.send(*(("embed_texts", embed(f"t{index}")) for index in range(20)))
        refused = await served.replies(16)
        codes = {status.code for status in refused.values()}
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}
        held.go.set()
        assert len(await served.replies(5)) == 5


async def test_the_more_urgent_runs_first() -> None:
    held = Held()
    async with serve(held) as served:
        await served.send(("embed_texts", embed("hold")))
        await eventually(lambda: held.seen == ["hold"])
        for priority in (exchange_pb2.PRIORITY_LOW, exchange_pb2.PRIORITY_NORMAL, exchange_pb2.PRIORITY_HIGH):
            name = Priority(priority).name
            await served.send(*(("embed_texts", embed(f"{name} {index}")) for index in range(4)), priority=priority)
        await served.ask("detect_text", ocr_service_pb2.DetectTextRequest(images=[image()]))  # all have arrived
        held.go.set()
        await served.replies(13)
        assert [text.split()[0] for text in held.seen[1:]] == ["HIGH"] * 4 + ["NORMAL"] * 4 + ["LOW"] * 4
