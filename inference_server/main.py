"""The inference server's process: `python -m inference_server.main`.

A server of other models is the same with sources of its own:

    run(InferenceSettings, partial(compose_with, [Given({Listing("double", "1"): lambda runtime: Double()})]))
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from candela.inference.v1.embedding_service_pb2_grpc import add_EmbeddingServiceServicer_to_server
from candela.inference.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from candela.inference.v1.ocr_service_pb2_grpc import add_OcrServiceServicer_to_server
from candela.inference.v1.plate_service_pb2_grpc import add_PlateServiceServicer_to_server
from inference_server.api.embeddings import EmbeddingServicer
from inference_server.api.models import ModelServicer, readiness
from inference_server.api.ocr import OcrServicer
from inference_server.api.plates import PlateServicer
from inference_server.api.unimplemented import unimplemented
from inference_server.engine import Bounds
from inference_server.exchange import exchange_of
from inference_server.exposition import EXPOSITION
from inference_server.host import ModelHost
from inference_server.memory import tune_allocator, tune_switching
from inference_server.models.device import Device
from inference_server.models.repository import Repository
from inference_server.models.source import BuiltIn, ModelSource
from inference_server.models.weights import WeightsError
from inference_server.oip.servicer import OipServicer
from inference_server.settings import InferenceSettings
from kserve.grpc_service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from services.kit.access import Access, Level
from services.kit.bootstrap import Binding, Mesh, StartError, run
from services.kit.errors import CandelaError
from services.kit.settings import MIB


def compose(mesh: Mesh[InferenceSettings]) -> AbstractAsyncContextManager[Sequence[Binding]]:
    """Serve the built-in models that the settings name, and the models of a repository if there is one."""
    settings = mesh.settings
    sources: list[ModelSource] = [BuiltIn()]
    optional: list[str] = []
    if settings.inference_repository is not None:
        repository = Repository(settings.inference_repository)
        try:
            optional = [listing.name for listing in repository.entries()]
        except WeightsError as error:
            raise StartError(f"the inference server cannot read its repository: {error}") from error
        sources.append(repository)
    return compose_with(sources, mesh, names=settings.models, optional=optional)


@asynccontextmanager
async def compose_with(
    sources: Sequence[ModelSource],
    mesh: Mesh[InferenceSettings],
    *,
    names: Sequence[str] | None = None,
    optional: Sequence[str] = (),
) -> AsyncIterator[Sequence[Binding]]:
    """Load the named models of the sources, all of them if None, before the server says it serves; let the engines
    finish after its calls did. One of `optional` that cannot be loaded is known as UNAVAILABLE.
    """
    settings = mesh.settings
    tune_allocator()
    tune_switching()
    host = host_of(settings, sources, mesh)
    try:
        await host.start(names, optional)
    except (WeightsError, CandelaError) as error:
        await host.close(0.0)  # those that did load: their processes are to end
        raise StartError(f"the inference server cannot load its models: {error}") from error
    EXPOSITION.watch(partial(readiness, host))
    try:
        yield [*bindings_of(host, settings.device), exchange_of(mesh, host), oip_of(mesh, host)]
    finally:
        EXPOSITION.watch(None)
        await host.close(settings.drain_seconds)


def host_of(settings: InferenceSettings, sources: Sequence[ModelSource], mesh: Mesh[InferenceSettings]) -> ModelHost:
    """Make the host of the sources' models with the bounds of the settings; nothing is loaded yet."""
    return ModelHost(
        sources,
        mesh.clock,
        mesh.telemetry.tracer,
        runtimes=settings.runtimes,
        bounds=Bounds(
            max_items=settings.inference_queue_items,
            max_bytes=settings.inference_queue_mib * MIB,
            timing_seconds=settings.inference_timing_ms / 1000,
            weights=settings.weights,
        ),
        memory_bytes=settings.inference_memory_mib * MIB,
        drain_seconds=settings.drain_seconds,
    )


def bindings_of(host: ModelHost, device: Device) -> list[Binding]:
    """Return every service of this process."""
    return [
        Binding(add_OcrServiceServicer_to_server, OcrServicer(host)),
        Binding(add_PlateServiceServicer_to_server, PlateServicer(host)),
        Binding(add_EmbeddingServiceServicer_to_server, EmbeddingServicer(host)),
        Binding(add_ModelServiceServicer_to_server, ModelServicer(host, device)),
        *unimplemented(),
    ]


def oip_of(mesh: Mesh[InferenceSettings], host: ModelHost) -> Binding:
    """Return the Open Inference Protocol, for services only: its contract cannot say so itself."""
    settings = mesh.settings
    servicer = OipServicer(host, settings, mesh.draining)
    add = add_GRPCInferenceServiceServicer_to_server
    return Binding(add, servicer, Access(Level.SERVICE), logged=settings.exchange_access_log)


if __name__ == "__main__":
    run(InferenceSettings, compose)
