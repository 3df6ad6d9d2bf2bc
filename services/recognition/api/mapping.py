"""Domain to messages: how a recognition looks in the contract."""

from google.protobuf import duration_pb2, timestamp_pb2

from candela.recognition.v1 import document_pb2, recognition_pb2
from candela.type.v1 import geometry_pb2
from services.recognition.domain.documents import (
    Block,
    Box,
    Character,
    Document,
    Kind,
    Line,
    Page,
    Point,
    Recognition,
    Source,
    Word,
)

COLLECTION = "recognitions"
# Detected corners are good to a pixel and confidences to a percent; more digits would only make answers longer.
_PIXEL_DIGITS = 2
_CONFIDENCE_DIGITS = 4
_KINDS = {Kind.DOCUMENT: recognition_pb2.Recognition.KIND_DOCUMENT}


def recognition_to_proto(recognition: Recognition) -> recognition_pb2.Recognition:
    """Return the message of a history entry; its result is left out when the entry was read without it."""
    create_time, processing_time = timestamp_pb2.Timestamp(), duration_pb2.Duration()
    create_time.FromDatetime(recognition.create_time)
    processing_time.FromTimedelta(recognition.processing_time)
    message = recognition_pb2.Recognition(
        name=f"{COLLECTION}/{recognition.id}",
        kind=_KINDS[recognition.kind],
        create_time=create_time,
        source=_source(recognition.source),
        models=recognition.models,
        processing_time=processing_time,
        confidence=_confidence(recognition.confidence),
    )
    if recognition.document is not None:
        message.document.CopyFrom(_document(recognition.document))
    return message


def _source(source: Source) -> recognition_pb2.Source:
    return recognition_pb2.Source(
        content_type=source.content_type,
        size_bytes=source.size_bytes,
        sha256=source.sha256,
        page_count=source.page_count,
    )


def _document(document: Document) -> document_pb2.Document:
    return document_pb2.Document(text=document.text, pages=[_page(page) for page in document.pages])


def _page(page: Page) -> document_pb2.Page:
    return document_pb2.Page(
        number=page.number,
        width=page.width,
        height=page.height,
        blocks=[_block(block) for block in page.blocks],
        confidence=_confidence(page.confidence),
    )


def _block(block: Block) -> document_pb2.Block:
    return document_pb2.Block(box=_box(block.box), lines=[_line(line) for line in block.lines])


def _line(line: Line) -> document_pb2.Line:
    words = [_word(word) for word in line.words]
    return document_pb2.Line(text=line.text, confidence=_confidence(line.confidence), box=_box(line.box), words=words)


def _word(word: Word) -> document_pb2.Word:
    characters = [_character(character) for character in word.characters]
    return document_pb2.Word(
        text=word.text, confidence=_confidence(word.confidence), box=_box(word.box), characters=characters
    )


def _character(character: Character) -> document_pb2.Character:
    return document_pb2.Character(
        text=character.text, confidence=_confidence(character.confidence), box=_box(character.box)
    )


def _box(box: Box) -> geometry_pb2.Box:
    top_left, top_right, bottom_right, bottom_left = (_point(corner) for corner in box.corners)
    return geometry_pb2.Box(top_left=top_left, top_right=top_right, bottom_right=bottom_right, bottom_left=bottom_left)


def _point(point: Point) -> geometry_pb2.Point:
    return geometry_pb2.Point(x=round(point.x, _PIXEL_DIGITS), y=round(point.y, _PIXEL_DIGITS))


def _confidence(value: float) -> float:
    return round(value, _CONFIDENCE_DIGITS)
