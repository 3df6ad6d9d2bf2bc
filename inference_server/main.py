"""The inference server's process: `python -m inference_server.main`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from candela.inference.v1.ocr_service_pb2_grpc import add_OcrServiceServicer_to_server
from inference_server.api.ocr import OcrServicer
from inference_server.host import ModelHost, create_models
from inference_server.models.weights import WeightsError
from inference_server.settings import InferenceSettings
from services.kit.bootstrap import Binding, Mesh, StartError, run
from services.kit.settings import MIB


@asynccontextmanager
async def compose(mesh: Mesh[InferenceSettings]) -> AsyncIterator[list[Binding]]:
    """Load and warm up the models before the server says it serves; let the engines finish after its calls did."""
    settings = mesh.settings
    host = ModelHost(
        create_models(settings.models, settings.runtime),
        mesh.clock,
        mesh.telemetry.tracer,
        max_items=settings.inference_queue_items,
        max_bytes=settings.inference_queue_mib * MIB,
    )
    try:
        await host.start()
    except WeightsError as error:
        raise StartError(f"the inference server cannot load its models: {error}") from error
    try:
        yield [Binding(add_OcrServiceServicer_to_server, OcrServicer(host))]
    finally:
        await host.close(settings.drain_seconds)


if __name__ == "__main__":
    run(InferenceSettings, compose)
