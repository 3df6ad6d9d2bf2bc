"""A service with two unary methods and an Exchange of them, over messages that exist. It does what a text names.

EmbedTexts has no side effects; ModelInfer may have some, and its access rule is given by whoever binds it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from candela.inference.v1 import (
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    exchange_service_pb2_grpc,
)
from kserve import grpc_service_pb2
from services.kit.access import Access, Level
from services.kit.call import Call, current_call
from services.kit.errors import CandelaError, FieldViolation, NotFound, ResourceExhausted, Unavailable
from services.kit.exchange.contract import Contract
from services.kit.exchange.door import Door, Frames
from services.kit.exchange.incoming import Incoming
from services.kit.server import Binding

EMBED = "/candela.inference.v1.EmbeddingService/EmbedTexts"
INFER = "/inference.GRPCInferenceService/ModelInfer"
CONTRACT = Contract.of("/candela.inference.v1.ExchangeService/Exchange", {"embed_texts": EMBED, "infer": INFER})
SERVICES_ONLY = Access(Level.SERVICE)

EmbedRequest = embedding_service_pb2.EmbedTextsRequest
EmbedResponse = embedding_service_pb2.EmbedTextsResponse
InferRequest = grpc_service_pb2.ModelInferRequest
InferResponse = grpc_service_pb2.ModelInferResponse


def embed(*texts: str) -> Any:
    return EmbedRequest(texts=texts)


def failure_of(text: str) -> Exception | None:
    """Return what a text asks to fail with."""
    match text:
        case "not found":
            return NotFound("no such model", reason="MODEL_NOT_FOUND", metadata={"model": "x"})
        case "exhausted":
            violation = FieldViolation("texts", "too many", "texts.max")
            return ResourceExhausted("slow down", reason="OVERLOADED", violations=[violation], retry_after=1.5)
        case "unavailable":
            return Unavailable("stopping", retry_after=0.25)
        case "crash":
            return RuntimeError("the secret is hunter2")
    return None


class Models(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """Both unary methods, and what the frame handlers of a door do in their place."""

    def __init__(self, name: str = "m") -> None:
        self.name = name
        self.calls: list[Call] = []
        self.began: list[str] = []
        self.sizes: list[int] = []  # of the groups that came in one frame
        self.waiting: list[Incoming] = []
        self.cancelled = 0
        self.go_on = asyncio.Event()

    async def EmbedTexts(self, request: Any, context: Any) -> Any:
        self.calls.append(current_call())
        return EmbedResponse(model=await self._act(request.texts[0]))

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        self.calls.append(current_call())
        return InferResponse(model_name=await self._act(request.model_name), id=request.id)

    async def _act(self, text: str) -> str:
        self.began.append(text)
        if (failure := failure_of(text)) is not None:
            raise failure
        if text == "wait":
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return f"{self.name}:{text}"

    async def many(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Answer each text with a reply of its own."""
        for text in request.texts:
            yield EmbedResponse(model=await self._act(text))

    def embed_frames(self, items: Sequence[Incoming]) -> None:
        self.sizes.append(len(items))
        for incoming in items:
            self.calls.append(incoming.call())
            self._answer(incoming, incoming.request.texts[0])

    def infer_frames(self, items: Sequence[Incoming]) -> None:
        self.sizes.append(len(items))
        for incoming in items:
            self.calls.append(incoming.call())
            self._answer(incoming, incoming.request.model_name)

    def _answer(self, incoming: Incoming, text: str) -> None:
        self.began.append(text)
        failure = failure_of(text)
        if isinstance(failure, CandelaError):
            incoming.fail(failure)
        elif failure is not None:
            raise failure
        elif text == "wait":
            incoming.on_cancel(self._note_cancelled)
            self.waiting.append(incoming)
        elif incoming.member == "infer":
            incoming.reply(InferResponse(model_name=f"{self.name}:{text}", id=incoming.request.id))
        else:
            incoming.reply(EmbedResponse(model=f"{self.name}:{text}"))

    def _note_cancelled(self) -> None:
        self.cancelled += 1

    def answer_waiting(self) -> None:
        waiting, self.waiting = self.waiting, []
        for incoming in waiting:
            incoming.reply(EmbedResponse(model=f"{self.name}:wait"))

    # --- bindings

    def frames(self) -> dict[str, Any]:
        return {"embed_texts": Frames(self.embed_frames), "infer": Frames(self.infer_frames)}

    def behaviours(self) -> dict[str, Any]:
        return {"embed_texts": self.EmbedTexts, "infer": self.ModelInfer}

    def bindings(self, door: Door, infer: Access = SERVICES_ONLY) -> list[Binding]:
        return [
            Binding(embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server, self),
            Binding(_add_infer, self, access=infer),
            Binding(exchange_service_pb2_grpc.add_ExchangeServiceServicer_to_server, door),
        ]


def _add_infer(servicer: Models, server: Any) -> None:
    """Register the one method of KServe's service that is served here."""
    infer = grpc.unary_unary_rpc_method_handler(
        servicer.ModelInfer, InferRequest.FromString, InferResponse.SerializeToString
    )
    service, method = INFER[1:].split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: infer}),))
    server.add_registered_method_handlers(service, {method: infer})
