"""What is contract only says so, and only to who may ask."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from candela.inference.v1 import (
    detection_service_pb2,
    detection_service_pb2_grpc,
    enhancement_service_pb2,
    enhancement_service_pb2_grpc,
    image_generation_service_pb2,
    image_generation_service_pb2_grpc,
    text_generation_service_pb2,
    text_generation_service_pb2_grpc,
)
from tests.unit.inference.serving import Served, image, reason_of, refused, serve

DETECT = (
    detection_service_pb2_grpc.DetectionServiceStub,
    "DetectObjects",
    detection_service_pb2.DetectObjectsRequest(images=[image()]),
)
ENHANCE = (
    enhancement_service_pb2_grpc.EnhancementServiceStub,
    "EnhanceImages",
    enhancement_service_pb2.EnhanceImagesRequest(
        enhancement=enhancement_service_pb2.ENHANCEMENT_SUPER_RESOLUTION, scale=2, images=[image()]
    ),
)
WRITE = (
    text_generation_service_pb2_grpc.TextGenerationServiceStub,
    "GenerateText",
    text_generation_service_pb2.GenerateTextRequest(
        turns=[text_generation_service_pb2.Turn(role=text_generation_service_pb2.TURN_ROLE_USER, text="Hello")]
    ),
)
PAINT = (
    image_generation_service_pb2_grpc.ImageGenerationServiceStub,
    "GenerateImages",
    image_generation_service_pb2.GenerateImagesRequest(prompt="a lighthouse"),
)
CALLS = pytest.mark.parametrize(("stub", "method", "request_"), [DETECT, ENHANCE, WRITE, PAINT])


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve() as running:
        yield running


async def first(call: Any) -> Any:
    """Await a unary call, or the first message of a stream."""
    return await (call.read() if isinstance(call, grpc.aio.UnaryStreamCall) else call)


@CALLS
async def test_a_method_without_a_model_says_so(served: Served, stub: Any, method: str, request_: Any) -> None:
    call = getattr(stub(served.channel), method)(request_, metadata=served.metadata)
    code, status = await refused(first(call))
    assert (code, reason_of(status)) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
    assert "no model in this mesh does it yet" in status.message


@CALLS
async def test_only_services_may_ask(served: Served, stub: Any, method: str, request_: Any) -> None:
    call = getattr(stub(served.channel), method)(request_, metadata=served.server.as_user("u1", role="ADMIN"))
    code, _ = await refused(first(call))
    assert code is grpc.StatusCode.PERMISSION_DENIED


@CALLS
async def test_requests_are_checked_as_those_of_other_methods(
    served: Served, stub: Any, method: str, request_: Any
) -> None:
    call = getattr(stub(served.channel), method)(type(request_)(), metadata=served.metadata)
    code, _ = await refused(first(call))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
