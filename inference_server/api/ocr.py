"""Serves candela.inference.v1.OcrService: messages to items, items to a model's engine, results to messages."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from google.rpc import status_pb2
from opentelemetry import trace

from candela.inference.v1 import ocr_pb2, ocr_service_pb2, ocr_service_pb2_grpc
from candela.type.v1 import geometry_pb2
from inference_server.engine import Engine, Item
from inference_server.host import ModelHost
from inference_server.models.catalogue import Task
from inference_server.models.picture import Picture, PixelFormat
from inference_server.models.text import Character, Line, LineCrop, Region, Word
from observability.telemetry import current_trace_id
from services.kit.call import current_call
from services.kit.errors import CandelaError, InvalidArgument
from services.kit.grpc_status import to_status

Context = Any  # grpc.aio's context: the pipeline reads it, handlers do not
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")

_FORMATS = {
    ocr_pb2.PIXEL_FORMAT_RGB8: PixelFormat.RGB8,
    ocr_pb2.PIXEL_FORMAT_BGR8: PixelFormat.BGR8,
    ocr_pb2.PIXEL_FORMAT_GRAY8: PixelFormat.GRAY8,
}


class OcrServicer(ocr_service_pb2_grpc.OcrServiceServicer):
    """Items of concurrent calls meet in the engines; a call waits for its own."""

    def __init__(self, host: ModelHost) -> None:
        self._host = host

    async def DetectText(
        self, request: ocr_service_pb2.DetectTextRequest, context: Context
    ) -> ocr_service_pb2.DetectTextResponse:
        engine: Engine[Picture, Sequence[Region]] = self._host.find(Task.DETECT_TEXT, request.model)
        items = [_picture_item(image) for image in request.images]
        results = await _answers(engine, items)
        return ocr_service_pb2.DetectTextResponse(
            model=engine.card.identity, results=[_detected(result) for result in results]
        )

    async def RecognizeText(
        self, request: ocr_service_pb2.RecognizeTextRequest, context: Context
    ) -> ocr_service_pb2.RecognizeTextResponse:
        engine: Engine[LineCrop, Line] = self._host.find(Task.RECOGNIZE_TEXT, request.model)
        items = [_crop_item(_picture_item(image), request.detect_orientation) for image in request.crops]
        results = await _answers(engine, items)
        return ocr_service_pb2.RecognizeTextResponse(
            model=engine.card.identity, results=[_recognized(result) for result in results]
        )


async def _answers(
    engine: Engine[InputT, OutputT], items: Sequence[Item[InputT] | CandelaError]
) -> list[OutputT | CandelaError]:
    """Wait for the results of a call's items; when the caller goes away, what still waits is taken out of the queue."""
    span = trace.get_current_span().get_span_context()
    submission = engine.submit(items, span, current_call().deadline)
    try:
        return await asyncio.wrap_future(submission.future)
    finally:
        submission.cancel()


def _picture_item(image: ocr_pb2.PixelImage) -> Item[Picture] | CandelaError:
    """Return the picture of a message, or what is wrong with it: a bad picture fails alone."""
    layout = _FORMATS.get(image.format)
    if layout is None:
        return InvalidArgument(f"the pixel format {image.format} is not known", metadata={"format": str(image.format)})
    picture = Picture(image.data, image.width, image.height, layout)
    try:
        return Item(picture.checked(), len(picture.data))
    except InvalidArgument as error:
        return error


def _crop_item(item: Item[Picture] | CandelaError, detect_orientation: bool) -> Item[LineCrop] | CandelaError:
    return item if isinstance(item, CandelaError) else Item(LineCrop(item.value, detect_orientation), item.size)


def _detected(result: Sequence[Region] | CandelaError) -> ocr_pb2.DetectTextResult:
    if isinstance(result, CandelaError):
        return ocr_pb2.DetectTextResult(error=_status(result))
    return ocr_pb2.DetectTextResult(regions=ocr_pb2.TextRegions(regions=[_region(region) for region in result]))


def _region(region: Region) -> ocr_pb2.TextRegion:
    top_left, top_right, bottom_right, bottom_left = (geometry_pb2.Point(x=x, y=y) for x, y in region.corners)
    box = geometry_pb2.Box(top_left=top_left, top_right=top_right, bottom_right=bottom_right, bottom_left=bottom_left)
    return ocr_pb2.TextRegion(box=box, score=region.score)


def _recognized(result: Line | CandelaError) -> ocr_pb2.RecognizeTextResult:
    if isinstance(result, CandelaError):
        return ocr_pb2.RecognizeTextResult(error=_status(result))
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
        characters=_characters(word.characters),
    )


def _characters(characters: Iterable[Character]) -> list[ocr_pb2.TextCharacter]:
    return [
        ocr_pb2.TextCharacter(text=one.text, confidence=one.confidence, start=one.start, end=one.end)
        for one in characters
    ]


def _status(error: CandelaError) -> status_pb2.Status:
    return to_status(error, current_trace_id())
