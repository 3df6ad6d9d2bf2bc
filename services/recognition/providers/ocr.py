"""Reads pages with the OCR models of the inference server: find the lines, cut them out, read them all at once."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from candela.inference.v1 import ocr_pb2, ocr_service_pb2
from candela.type.v1 import geometry_pb2
from services.kit.errors import Unavailable
from services.kit.grpc_status import from_status
from services.recognition.domain.documents import Box, Character, Line, Point, Word
from services.recognition.domain.media import PageImage
from services.recognition.ports import PageText
from services.recognition.providers.crops import Crop, cut, for_detection, pixels_of, scaled

# One call carries this many crops at most, well under the contract's limit, so that its message stays small.
_CROPS_PER_CALL = 500


class OcrCalls(Protocol):
    """The two calls of candela.inference.v1.OcrService that reading needs; errors arrive as CandelaError."""

    async def detect(self, request: ocr_service_pb2.DetectTextRequest) -> ocr_service_pb2.DetectTextResponse:
        """Find lines of text on pictures."""

    async def recognize(self, request: ocr_service_pb2.RecognizeTextRequest) -> ocr_service_pb2.RecognizeTextResponse:
        """Read lines of text."""


class OcrPageReader:
    """The page reader over the inference server."""

    def __init__(self, calls: OcrCalls) -> None:
        self._calls = calls

    async def read(self, page: PageImage) -> PageText:
        """Return the page's lines with words and characters placed in its pixels."""
        picture, factor = await asyncio.to_thread(_picture_to_search, page)
        detected = await self._calls.detect(ocr_service_pb2.DetectTextRequest(images=[picture]))
        boxes = [scaled(box, factor) for box in _boxes(detected)]
        del picture
        crops = await asyncio.to_thread(_cut_all, page, boxes)
        lines, models = [], [detected.model]
        for start in range(0, len(crops), _CROPS_PER_CALL):
            part = crops[start : start + _CROPS_PER_CALL]
            answer = await self._calls.recognize(_request(part))
            lines.extend(_lines(part, answer))
            models.append(answer.model)
        return PageText(tuple(lines), tuple(dict.fromkeys(models)))


def _picture_to_search(page: PageImage) -> tuple[ocr_pb2.PixelImage, float]:
    small, factor = for_detection(pixels_of(page))
    height, width = small.shape[:2]
    data = small.tobytes()
    return ocr_pb2.PixelImage(width=width, height=height, format=ocr_pb2.PIXEL_FORMAT_RGB8, data=data), factor


def _boxes(detected: ocr_service_pb2.DetectTextResponse) -> list[Box]:
    if len(detected.results) != 1:
        raise Unavailable("the detection model answered with another number of results than it was given pictures")
    result = detected.results[0]
    if result.WhichOneof("result") == "error":
        raise from_status(result.error)
    return [_box(region.box) for region in result.regions.regions]


def _box(box: geometry_pb2.Box) -> Box:
    return Box(*(Point(p.x, p.y) for p in (box.top_left, box.top_right, box.bottom_right, box.bottom_left)))


def _cut_all(page: PageImage, boxes: Sequence[Box]) -> list[Crop]:
    pixels = pixels_of(page)
    return [cut(pixels, box) for box in boxes]


def _request(crops: Sequence[Crop]) -> ocr_service_pb2.RecognizeTextRequest:
    images = [
        ocr_pb2.PixelImage(width=crop.width, height=crop.height, format=ocr_pb2.PIXEL_FORMAT_RGB8, data=crop.rgb)
        for crop in crops
    ]
    return ocr_service_pb2.RecognizeTextRequest(crops=images, detect_orientation=True)


def _lines(crops: Sequence[Crop], answer: ocr_service_pb2.RecognizeTextResponse) -> list[Line]:
    """Return the lines that hold text, in the order of the crops."""
    if len(answer.results) != len(crops):
        raise Unavailable("the recognition model answered with another number of results than it was given crops")
    lines = []
    for crop, result in zip(crops, answer.results, strict=True):
        # A page with a line missing would look complete, so one failed line fails the page.
        if result.WhichOneof("result") == "error":
            raise from_status(result.error)
        if result.line.words:
            lines.append(_line(crop.box, result.line))
    return lines


def _line(box: Box, line: ocr_pb2.TextLine) -> Line:
    as_read = box.turned_over() if line.upside_down else box
    return Line(as_read, tuple(_word(as_read, word) for word in line.words))


def _word(line: Box, word: ocr_pb2.TextWord) -> Word:
    characters = tuple(Character(c.text, c.confidence, line.slice(c.start, c.end)) for c in word.characters)
    return Word(word.text, word.confidence, line.slice(word.start, word.end), characters)
