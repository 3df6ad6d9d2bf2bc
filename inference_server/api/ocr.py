"""candela.inference.v1.OcrService: messages to items, results to messages."""

from collections.abc import Sequence
from typing import Any

from candela.inference.v1 import ocr_pb2, ocr_service_pb2, ocr_service_pb2_grpc
from inference_server.api.calls import answer, by_task
from inference_server.api.failures import failure
from inference_server.api.images import box, characters, picture_item
from inference_server.api.operation import Operation
from inference_server.engine import Engine, Item
from inference_server.host import ModelHost
from inference_server.models.catalogue import Task
from inference_server.models.model import ModelCard
from inference_server.models.picture import Picture
from inference_server.models.text import Line, LineCrop, Region, Word
from services.kit.errors import CandelaError

Context = Any  # grpc.aio's context: the pipeline reads it, handlers do not


class OcrServicer(ocr_service_pb2_grpc.OcrServiceServicer):
    """Items of concurrent calls meet in the engines; a call waits for its own."""

    def __init__(self, host: ModelHost) -> None:
        self._host = host

    async def DetectText(
        self, request: ocr_service_pb2.DetectTextRequest, context: Context
    ) -> ocr_service_pb2.DetectTextResponse:
        return await answer(self._host, DETECT_TEXT, request)

    async def RecognizeText(
        self, request: ocr_service_pb2.RecognizeTextRequest, context: Context
    ) -> ocr_service_pb2.RecognizeTextResponse:
        return await answer(self._host, RECOGNIZE_TEXT, request)


def _pictures(
    engine: Engine[Any, Any], request: ocr_service_pb2.DetectTextRequest
) -> list[Item[Picture] | CandelaError]:
    return [picture_item(image) for image in request.images]


def _crops(
    engine: Engine[Any, Any], request: ocr_service_pb2.RecognizeTextRequest
) -> list[Item[LineCrop] | CandelaError]:
    return [_crop(picture_item(image), request.detect_orientation) for image in request.crops]


def _crop(item: Item[Picture] | CandelaError, detect_orientation: bool) -> Item[LineCrop] | CandelaError:
    return item if isinstance(item, CandelaError) else Item(LineCrop(item.value, detect_orientation), item.size)


def _regions(
    card: ModelCard, request: ocr_service_pb2.DetectTextRequest, results: Sequence[Sequence[Region] | CandelaError]
) -> ocr_service_pb2.DetectTextResponse:
    return ocr_service_pb2.DetectTextResponse(model=card.identity, results=[_detected(result) for result in results])


def _lines(
    card: ModelCard, request: ocr_service_pb2.RecognizeTextRequest, results: Sequence[Line | CandelaError]
) -> ocr_service_pb2.RecognizeTextResponse:
    return ocr_service_pb2.RecognizeTextResponse(
        model=card.identity, results=[_recognized(result) for result in results]
    )


def _detected(result: Sequence[Region] | CandelaError) -> ocr_pb2.DetectTextResult:
    if isinstance(result, CandelaError):
        return ocr_pb2.DetectTextResult(error=failure(result))
    regions = [ocr_pb2.TextRegion(box=box(region.corners), score=region.score) for region in result]
    return ocr_pb2.DetectTextResult(regions=ocr_pb2.TextRegions(regions=regions))


def _recognized(result: Line | CandelaError) -> ocr_pb2.RecognizeTextResult:
    if isinstance(result, CandelaError):
        return ocr_pb2.RecognizeTextResult(error=failure(result))
    line = ocr_pb2.TextLine(
        text=result.text,
        confidence=result.confidence,
        words=[_word(word) for word in result.words],
        upside_down=result.upside_down,
    )
    return ocr_pb2.RecognizeTextResult(line=line)


def _word(word: Word) -> ocr_pb2.TextWord:
    return ocr_pb2.TextWord(
        text=word.text,
        confidence=word.confidence,
        start=word.start,
        end=word.end,
        characters=characters(word.characters),
    )


DETECT_TEXT = Operation(
    path="/candela.inference.v1.OcrService/DetectText",
    field="detect_text",
    engine=by_task(Task.DETECT_TEXT),
    items=_pictures,
    response=_regions,
)
RECOGNIZE_TEXT = Operation(
    path="/candela.inference.v1.OcrService/RecognizeText",
    field="recognize_text",
    engine=by_task(Task.RECOGNIZE_TEXT),
    items=_crops,
    response=_lines,
)
OPERATIONS: Sequence[Operation[Any, Any]] = (DETECT_TEXT, RECOGNIZE_TEXT)
