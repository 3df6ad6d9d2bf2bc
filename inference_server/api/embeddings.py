"""candela.inference.v1.EmbeddingService: messages to items, results to messages."""

from collections.abc import Sequence
from typing import Any

from candela.inference.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from inference_server.api.calls import answer, by_task
from inference_server.api.failures import failure
from inference_server.api.operation import Operation
from inference_server.engine import Engine, Item
from inference_server.host import ModelHost
from inference_server.models.catalogue import Task
from inference_server.models.embedding import Embedding
from inference_server.models.model import ModelCard
from services.kit.errors import CandelaError

Context = Any  # grpc.aio's context: the pipeline reads it, handlers do not


class EmbeddingServicer(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """Items of concurrent calls meet in the engine; a call waits for its own."""

    def __init__(self, host: ModelHost) -> None:
        self._host = host

    async def EmbedTexts(
        self, request: embedding_service_pb2.EmbedTextsRequest, context: Context
    ) -> embedding_service_pb2.EmbedTextsResponse:
        return await answer(self._host, EMBED_TEXTS, request)


def _texts(engine: Engine[Any, Any], request: embedding_service_pb2.EmbedTextsRequest) -> list[Item[str]]:
    # What a text takes while it waits: a character is at most four bytes.
    return [Item(text, 4 * len(text)) for text in request.texts]


def _vectors(
    card: ModelCard, request: embedding_service_pb2.EmbedTextsRequest, results: Sequence[Embedding | CandelaError]
) -> embedding_service_pb2.EmbedTextsResponse:
    return embedding_service_pb2.EmbedTextsResponse(
        model=card.identity, results=[_vector(result) for result in results]
    )


def _vector(result: Embedding | CandelaError) -> embedding_service_pb2.EmbedTextsResult:
    if isinstance(result, CandelaError):
        return embedding_service_pb2.EmbedTextsResult(error=failure(result))
    embedding = embedding_service_pb2.Embedding(
        dimensions=result.dimensions, values=result.values, tokens=result.tokens
    )
    return embedding_service_pb2.EmbedTextsResult(embedding=embedding)


EMBED_TEXTS = Operation(
    path="/candela.inference.v1.EmbeddingService/EmbedTexts",
    field="embed_texts",
    engine=by_task(Task.EMBED_TEXTS),
    items=_texts,
    response=_vectors,
)
OPERATIONS: Sequence[Operation[Any, Any]] = (EMBED_TEXTS,)
