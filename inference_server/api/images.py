"""Pictures of the contract as items, and places on them as messages."""

from collections.abc import Iterable, Sequence

from candela.inference.v1 import ocr_pb2
from candela.type.v1 import geometry_pb2
from inference_server.engine import Item
from inference_server.models.picture import Picture, PixelFormat
from inference_server.models.text import Character, Corner
from services.kit.errors import CandelaError, InvalidArgument

_FORMATS = {
    ocr_pb2.PIXEL_FORMAT_RGB8: PixelFormat.RGB8,
    ocr_pb2.PIXEL_FORMAT_BGR8: PixelFormat.BGR8,
    ocr_pb2.PIXEL_FORMAT_GRAY8: PixelFormat.GRAY8,
}


def picture_item(image: ocr_pb2.PixelImage) -> Item[Picture] | CandelaError:
    """Return the picture of a message, or what is wrong with it: a bad picture fails alone."""
    layout = _FORMATS.get(image.format)
    if layout is None:
        return InvalidArgument(f"the pixel format {image.format} is not known", metadata={"format": str(image.format)})
    picture = Picture(image.data, image.width, image.height, layout)
    try:
        return Item(picture.checked(), len(picture.data))
    except InvalidArgument as error:
        return error


def box(corners: Sequence[Corner]) -> geometry_pb2.Box:
    """Return four corners, from the upper left clockwise, as a message."""
    top_left, top_right, bottom_right, bottom_left = (geometry_pb2.Point(x=x, y=y) for x, y in corners)
    return geometry_pb2.Box(top_left=top_left, top_right=top_right, bottom_right=bottom_right, bottom_left=bottom_left)


def characters(read: Iterable[Character]) -> list[ocr_pb2.TextCharacter]:
    return [
        ocr_pb2.TextCharacter(text=one.text, confidence=one.confidence, start=one.start, end=one.end) for one in read
    ]
