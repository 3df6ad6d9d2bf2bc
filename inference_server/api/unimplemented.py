"""RPCs of the contract that no model of this mesh serves yet: they say so, after access and validation."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from candela.inference.v1.detection_service_pb2 import DetectObjectsRequest, DetectObjectsResponse
from candela.inference.v1.detection_service_pb2_grpc import (
    DetectionServiceServicer,
    add_DetectionServiceServicer_to_server,
)
from candela.inference.v1.enhancement_service_pb2 import EnhanceImagesRequest, EnhanceImagesResponse
from candela.inference.v1.enhancement_service_pb2_grpc import (
    EnhancementServiceServicer,
    add_EnhancementServiceServicer_to_server,
)
from candela.inference.v1.image_generation_service_pb2 import GenerateImagesEvent, GenerateImagesRequest
from candela.inference.v1.image_generation_service_pb2_grpc import (
    ImageGenerationServiceServicer,
    add_ImageGenerationServiceServicer_to_server,
)
from candela.inference.v1.text_generation_service_pb2 import GenerateTextEvent, GenerateTextRequest
from candela.inference.v1.text_generation_service_pb2_grpc import (
    TextGenerationServiceServicer,
    add_TextGenerationServiceServicer_to_server,
)
from services.kit.bootstrap import Binding
from services.kit.errors import Unimplemented

Context = Any  # grpc.aio's context: the pipeline reads it, handlers do not


class DetectionServicer(DetectionServiceServicer):
    """Answers UNIMPLEMENTED."""

    async def DetectObjects(self, request: DetectObjectsRequest, context: Context) -> DetectObjectsResponse:
        raise _missing("the detection of objects", "the recognition of vehicles and plates")


class EnhancementServicer(EnhancementServiceServicer):
    """Answers UNIMPLEMENTED."""

    async def EnhanceImages(self, request: EnhanceImagesRequest, context: Context) -> EnhanceImagesResponse:
        raise _missing("the enhancement of pictures", "the recognition of plates in the dark and with generation")


class TextGenerationServicer(TextGenerationServiceServicer):
    """Answers UNIMPLEMENTED."""

    async def GenerateText(self, request: GenerateTextRequest, context: Context) -> AsyncIterator[GenerateTextEvent]:
        raise _missing("the generation of text", "chat")
        yield  # what makes it a stream


class ImageGenerationServicer(ImageGenerationServiceServicer):
    """Answers UNIMPLEMENTED."""

    async def GenerateImages(
        self, request: GenerateImagesRequest, context: Context
    ) -> AsyncIterator[GenerateImagesEvent]:
        raise _missing("the generation of pictures", "generation")
        yield  # what makes it a stream


def unimplemented() -> Sequence[Binding]:
    """Return the services that are contract only."""
    return [
        Binding(add_DetectionServiceServicer_to_server, DetectionServicer()),
        Binding(add_EnhancementServiceServicer_to_server, EnhancementServicer()),
        Binding(add_TextGenerationServiceServicer_to_server, TextGenerationServicer()),
        Binding(add_ImageGenerationServiceServicer_to_server, ImageGenerationServicer()),
    ]


def _missing(what: str, comes_with: str) -> Unimplemented:
    return Unimplemented(f"{what} comes with {comes_with}; no model in this mesh does it yet")
