"""The typed inference RPCs behind the kit's whole pipeline, over models that a test chooses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from candela.inference.v1 import ocr_pb2
from inference_server.engine import Bounds
from inference_server.host import ModelHost
from inference_server.main import bindings_of
from inference_server.models.catalogue import Task
from inference_server.models.device import Device
from inference_server.models.model import Model
from inference_server.models.source import ready_made
from observability.telemetry import start_telemetry
from services.kit.clock import SystemClock
from tests.support.grpc_server import Metadata, RunningServer, running_server


@dataclass
class Served:
    server: RunningServer
    host: ModelHost
    exporter: InMemorySpanExporter

    @property
    def channel(self) -> grpc.aio.Channel:
        return self.server.channel

    @property
    def metadata(self) -> Metadata:
        return self.server.as_service("recognition")


@asynccontextmanager
async def serve(*models: tuple[Task, Model[Any, Any]], max_items: int = 100) -> AsyncIterator[Served]:
    """Serve every RPC of the inference server over `models`."""
    exporter = InMemorySpanExporter()
    telemetry = start_telemetry("inference", processors=[SimpleSpanProcessor(exporter)])
    bounds = Bounds(max_items=max_items, timing_seconds=0.0)
    host = ModelHost([ready_made(*models)], SystemClock(), telemetry.tracer, bounds=bounds, linger_seconds=0.0)
    await host.start()
    async with running_server(*bindings_of(host, Device.CPU), service="inference") as server:
        yield Served(server, host, exporter)
    await host.close(5.0)
    telemetry.close()


def image(width: int = 4, height: int = 2, *, data: bytes | None = None, layout: int = 1) -> ocr_pb2.PixelImage:
    """Return a picture, black if `data` is not given."""
    pixels = bytes(width * height * 3) if data is None else data
    return ocr_pb2.PixelImage(width=width, height=height, format=ocr_pb2.PixelFormat.ValueType(layout), data=pixels)


def bright(width: int = 4, height: int = 2) -> ocr_pb2.PixelImage:
    """Return a picture that the models of readers.py cannot look at."""
    return image(width, height, data=b"\xff" * width * height * 3)


def reason_of(status: status_pb2.Status) -> str:
    """Return the reason in a status's ErrorInfo."""
    info = error_details_pb2.ErrorInfo()
    return next(info.reason for detail in status.details if detail.Unpack(info))


async def refused(call: Any) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """Await a call that must fail and return its code and status."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    status = rpc_status.from_call(error.value)
    assert status is not None
    return error.value.code(), status
