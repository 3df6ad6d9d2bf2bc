"""Serves candela.inference.v1.ModelService: which models there are, what they did, and loading and unloading them."""

import logging
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from candela.inference.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc
from inference_server.api.model_messages import (
    best_batches,
    invariance_message,
    known_model,
    statistics_message,
    tensor_message,
)
from inference_server.engine import Engine
from inference_server.host import ModelHost
from inference_server.versions import KnownModel, State, age_of
from services.kit.call import current_call
from services.kit.errors import NotFound
from services.kit.paging import Cursor, Listing, PageTokens

Context = Any  # grpc.aio's context: the pipeline reads it, handlers do not
_LOG = logging.getLogger(__name__)
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_LOOKS = 3


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Speaks for the models of this process, which compute on `device`."""

    def __init__(self, host: ModelHost, device: str) -> None:
        self._host = host
        self._device = device
        # Another replica has other models, and this one has others after a restart: its tokens die with it.
        self._tokens = PageTokens(secrets.token_bytes(32))

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: Context
    ) -> model_service_pb2.ListModelsResponse:
        listing = Listing("models", "", current_call().caller.service)
        page = self._tokens.read(request.page_size, request.page_token, listing)
        known = self._host.index()
        if page.after is not None:
            name, _, version = page.after.id.rpartition("@")
            known = [one for one in known if (one.name, age_of(one.version)) > (name, age_of(version))]
        cut = page.cut(known[: page.size + 1], lambda one: Cursor(_NO_TIME, f"{one.name}@{one.version}"))
        models = []
        for one in cut.items:
            engine = self._engine(one)
            if request.measure_invariance and engine is not None and engine.invariance is None:
                await _measure(engine)
            models.append(self._model(one, engine))
        return model_service_pb2.ListModelsResponse(
            models=models, next_page_token=self._tokens.write(cut.next, listing)
        )

    async def GetModelStatistics(
        self, request: model_service_pb2.GetModelStatisticsRequest, context: Context
    ) -> model_pb2.ModelStatistics:
        engine = self._host.named(request.name, request.version)
        return statistics_message(engine.card.identity, engine.reporter.statistics(), engine.known_costs())

    async def LoadModel(self, request: model_service_pb2.LoadModelRequest, context: Context) -> model_pb2.Model:
        await self._host.load(request.name, request.version)
        engine = self._host.named(request.name, request.version)
        [known] = [one for one in self._host.index() if f"{one.name}@{one.version}" == engine.card.identity]
        return self._model(known, engine)

    async def UnloadModel(
        self, request: model_service_pb2.UnloadModelRequest, context: Context
    ) -> model_service_pb2.UnloadModelResponse:
        known = self._versions(request.name, request.version)
        if not known:
            wanted = f"{request.name}@{request.version}" if request.version else request.name
            raise NotFound(f"there is no model {wanted}", reason="MODEL_NOT_FOUND", metadata={"model": wanted})
        if any(self._engine(one) is not None for one in known):
            await self._host.unload(request.name, request.version)
        left = self._versions(request.name, request.version)
        return model_service_pb2.UnloadModelResponse(models=[self._model(one, self._engine(one)) for one in left])

    def _versions(self, name: str, version: str) -> Sequence[KnownModel]:
        return [one for one in self._host.index() if one.name == name and version in ("", one.version)]

    def _engine(self, known: KnownModel) -> Engine[Any, Any] | None:
        """Return the engine of a model that has one, also while none of its processes lives."""
        identity = f"{known.name}@{known.version}"
        return next((engine for engine in self._host.engines() if engine.card.identity == identity), None)

    def _model(self, known: KnownModel, engine: Engine[Any, Any] | None) -> model_pb2.Model:
        message = known_model(known)
        if engine is None:
            return message
        card, signature = engine.card, engine.signature
        message.platform, message.device = card.platform, self._device
        message.instances, message.max_batch = card.instances, card.max_batch
        message.best_batches.extend(best_batches(engine.reporter.statistics(), engine.known_costs()))
        if engine.invariance is not None:
            message.invariance.CopyFrom(invariance_message(engine.invariance))
        if signature is not None:
            message.inputs.extend(tensor_message(spec) for spec in signature.inputs)
            message.outputs.extend(tensor_message(spec) for spec in signature.outputs)
        return message


async def _measure(engine: Engine[Any, Any]) -> None:
    try:
        await engine.measured_invariance()
    except Exception:  # noqa: BLE001 - whatever a model raises, the others are shown
        _LOG.exception("the batch invariance of %s cannot be measured", engine.card.identity)


def readiness(host: ModelHost) -> Mapping[str, bool]:
    """Say of every model that is to answer whether it does. From any thread."""
    for _ in range(_LOOKS):
        try:
            known = host.index()
        except RuntimeError:  # a model came or went while it was looked: look again
            continue
        return {f"{one.name}@{one.version}": one.state is State.READY for one in known if one.wanted}
    return {}
