"""Serves inference.GRPCInferenceService: every method of it, so that stock clients need not know which are ours."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from inference_server.api.calls import answer, work_of
from inference_server.host import ModelHost
from inference_server.oip import metadata, repository
from inference_server.oip.extensions import log_settings, no_shared_memory, refuse_changes, trace_settings
from inference_server.oip.infer import INFER, named
from inference_server.oip.statistics import statistics_of
from inference_server.oip.stream import InferStream
from inference_server.settings import InferenceSettings
from kserve import grpc_service_pb2 as pb
from kserve import grpc_service_pb2_grpc
from services.kit.call import current_call

Context = Any  # grpc.aio's context: the pipeline reads it, handlers do not
_STRICT: Final = "triton_grpc_error"


class OipServicer(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """The protocol over the models of one process. `draining` is set when the process takes no new calls."""

    def __init__(self, host: ModelHost, settings: InferenceSettings, draining: asyncio.Event) -> None:
        self._host = host
        self._settings = settings
        self._draining = draining

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=not self._draining.is_set())

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        ready = not self._draining.is_set() and repository.is_ready(self._host, request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        return metadata.server_metadata()

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        engine = named(self._host, request.name, request.version)
        others = repository.engines(self._host, engine.card.name, "")
        return metadata.model_metadata(engine, [other.card.version for other in others])

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        engine = named(self._host, request.name, request.version)
        return pb.ModelConfigResponse(config=metadata.model_config(engine, self._settings.device))

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        return await answer(self._host, INFER, request)

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        call = current_call()
        strict = call.metadata.get(_STRICT) == "true"
        stream = InferStream(self._host, lambda: work_of(call), self._draining, strict=strict)
        async with aclosing(stream.answers(request_iterator)) as responses:
            async for response in responses:
                yield response

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Context) -> pb.ModelStatisticsResponse:
        engines = repository.engines(self._host, request.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=[statistics_of(engine) for engine in engines])

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        return await repository.index(self._host, request)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        await repository.load(self._host, request)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        await repository.unload(self._host, request)
        return pb.RepositoryModelUnloadResponse()

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        return pb.SystemSharedMemoryStatusResponse()

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        raise no_shared_memory("system")

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        return pb.SystemSharedMemoryUnregisterResponse()  # Triton, too, says yes to what was never registered

    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, context: Context
    ) -> pb.CudaSharedMemoryStatusResponse:
        return pb.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, context: Context
    ) -> pb.CudaSharedMemoryRegisterResponse:
        raise no_shared_memory("CUDA")

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, context: Context
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        return pb.CudaSharedMemoryUnregisterResponse()

    async def TraceSetting(self, request: pb.TraceSettingRequest, context: Context) -> pb.TraceSettingResponse:
        refuse_changes(request, "CANDELA_TRACE_SAMPLING_RATIO")
        if request.model_name:
            named(self._host, request.model_name, "")
        return trace_settings(self._settings)

    async def LogSettings(self, request: pb.LogSettingsRequest, context: Context) -> pb.LogSettingsResponse:
        refuse_changes(request, "CANDELA_LOG_LEVEL")
        return log_settings(self._settings)
