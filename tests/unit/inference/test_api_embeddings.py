"""The typed embedding call behind the kit's whole pipeline."""

import struct
from collections.abc import AsyncIterator

import grpc
import pytest

from candela.inference.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from inference_server.models.catalogue import Task
from tests.unit.inference.readers import Counter
from tests.unit.inference.serving import Served, reason_of, refused, serve


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve((Task.EMBED_TEXTS, Counter())) as running:
        yield running


def stub(served: Served) -> "embedding_service_pb2_grpc.EmbeddingServiceAsyncStub":  # a type for the checker only
    return embedding_service_pb2_grpc.EmbeddingServiceStub(served.channel)


def embed(*texts: str, model: str = "") -> embedding_service_pb2.EmbedTextsRequest:
    return embedding_service_pb2.EmbedTextsRequest(model=model, texts=texts)


async def test_every_text_has_its_vector_in_order(served: Served) -> None:
    answer = await stub(served).EmbedTexts(embed("three", " ", "字" * 9), metadata=served.metadata)
    assert answer.model == "counter@1"
    first, bad, last = answer.results
    assert (first.embedding.dimensions, first.embedding.tokens) == (2, 5)
    assert struct.unpack("<2f", first.embedding.values) == (5.0, 1.0)
    assert struct.unpack("<2f", last.embedding.values) == (9.0, 1.0)
    assert bad.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert reason_of(bad.error) == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "hostile",
    [embed(), embed(""), embed("fine", ""), embed("x" * 32_769), embed(*["x"] * 2049), embed("x", model="m" * 101)],
    ids=["no text", "an empty text", "one empty text", "too long", "too many", "a long name"],
)
async def test_a_request_against_the_contract_is_refused_whole(
    served: Served, hostile: embedding_service_pb2.EmbedTextsRequest
) -> None:
    code, status = await refused(stub(served).EmbedTexts(hostile, metadata=served.metadata))
    assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_more_texts_than_may_wait_are_refused_whole() -> None:
    async with serve((Task.EMBED_TEXTS, Counter()), max_items=2) as served:
        code, status = await refused(stub(served).EmbedTexts(embed("a", "b", "c"), metadata=served.metadata))
        assert (code, reason_of(status)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")


async def test_only_services_may_call(served: Served) -> None:
    code, _ = await refused(stub(served).EmbedTexts(embed("x")))
    assert code is grpc.StatusCode.UNAUTHENTICATED
    code, _ = await refused(stub(served).EmbedTexts(embed("x"), metadata=served.server.as_user("u1", role="ADMIN")))
    assert code is grpc.StatusCode.PERMISSION_DENIED
