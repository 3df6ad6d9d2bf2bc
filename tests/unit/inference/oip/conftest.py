"""The protocol behind the kit's whole pipeline, over real engines of small models."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from candela.inference.v1.exchange_service_pb2_grpc import add_ExchangeServiceServicer_to_server
from inference_server.engine import Bounds
from inference_server.exchange import CONTRACT, handlers_of
from inference_server.host import ModelHost
from inference_server.models.source import ModelSource, ready_made
from inference_server.oip.servicer import OipServicer
from inference_server.settings import InferenceSettings
from kserve import grpc_service_pb2 as pb
from kserve import grpc_service_pb2_grpc
from observability.telemetry import start_telemetry
from services.kit.access import Access, Level
from services.kit.clock import SystemClock
from services.kit.errors import CandelaError
from services.kit.exchange.door import Door
from services.kit.grpc_status import from_rpc_error
from services.kit.server import Binding
from tests.support.eventually import eventually
from tests.support.grpc_server import RunningServer, running_server
from tests.support.tensor_models import Held, all_models


@dataclass
class Oip:
    """A served protocol: calls as a service of the mesh."""

    server: RunningServer
    host: ModelHost
    draining: asyncio.Event
    stub: "grpc_service_pb2_grpc.GRPCInferenceServiceAsyncStub"  # a type of the stubs for the checker only

    @property
    def metadata(self) -> Any:
        return self.server.as_service("recognition")

    async def infer(self, request: pb.ModelInferRequest, **options: Any) -> pb.ModelInferResponse:
        return await self.stub.ModelInfer(request, metadata=self.metadata, **options)

    async def refusal(self, call: Any) -> CandelaError:
        """Return what a call is refused with."""
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        return from_rpc_error(error.value)


@asynccontextmanager
async def serve(source: ModelSource) -> AsyncIterator[Oip]:
    telemetry = start_telemetry("inference")
    clock = SystemClock()
    bounds = Bounds(timing_seconds=0.0)
    host = ModelHost([source], clock, telemetry.tracer, bounds=bounds, linger_seconds=0.0)
    await host.start()
    draining = asyncio.Event()
    servicer = OipServicer(host, InferenceSettings(), draining)
    bindings = [
        Binding(grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, servicer, Access(Level.SERVICE)),
        Binding(add_ExchangeServiceServicer_to_server, Door(CONTRACT, handlers_of(host))),
    ]
    async with running_server(*bindings, service="inference") as server:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
        yield Oip(server, host, draining, stub)
    await host.close(5.0)
    telemetry.close()


@pytest.fixture
async def oip() -> AsyncIterator[Oip]:
    async with serve(all_models()) as running:
        yield running


@dataclass
class HeldOip:
    """A served model that a test holds."""

    oip: Oip
    model: Held

    @property
    def engine(self) -> Any:
        return self.oip.host.named("held")

    async def until_begun(self) -> None:
        """Return once a batch waits at the gate."""
        await eventually(self.model.begun.is_set)


@pytest.fixture
async def held() -> AsyncIterator[HeldOip]:
    model = Held()
    async with serve(ready_made((None, model))) as running:
        yield HeldOip(running, model)
        model.gate.set()
