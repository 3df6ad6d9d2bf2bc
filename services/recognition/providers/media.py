"""Untrusted bytes to pages of pixels: Pillow for pictures, a fenced-in PDFium process for PDF."""

import asyncio
import io
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from services.recognition.domain.media import MAX_PIXELS, PageImage, check_pixels, unreadable
from services.recognition.ports import OpenedMedia
from services.recognition.providers.budget import Budget
from services.recognition.providers.parts import check_parts
from services.recognition.providers.pdf import PdfProcesses

if TYPE_CHECKING:
    from PIL.Image import Image

_STRIP_ROWS = 256

_PILLOW_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}

# What Pillow raises on damaged files, as its decoders do not keep to one type.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError)


class Picture:
    """A picture whose header was read: a document of one page."""

    page_count = 1

    def __init__(self, content: bytes, image_format: str) -> None:
        self._content = content
        self._format = image_format

    async def pages(self, numbers: Sequence[int]) -> AsyncIterator[PageImage]:
        """Decode the picture, upright by its EXIF rotation and in RGB."""
        for number in numbers:
            width, height, rgb = await asyncio.to_thread(_decode, self._content, self._format)
            yield PageImage(number, width, height, memoryview(rgb))


class FencedMediaReader:
    """Reads pictures in a thread and PDF in a process of its own; how much is decoded at one time is bounded."""

    def __init__(self, pdf: PdfProcesses, pixels: int = MAX_PIXELS) -> None:
        """Open pictures hold at most `pixels` together: four photographs, or one of the largest pictures.

        A pixel takes 3 bytes until its picture is closed, and 5 to 20 more, by the kind of file, while it is decoded.
        """
        self._pdf = pdf
        self._pixels = Budget(pixels)

    def open(self, content: bytes, content_type: str) -> AbstractAsyncContextManager[OpenedMedia]:
        """Read the header of a picture or PDF; the type is one that `sniff` returned."""
        if content_type == "application/pdf":
            return self._pdf.open(content)
        return self._open_picture(content, content_type)

    @asynccontextmanager
    async def _open_picture(self, content: bytes, content_type: str) -> AsyncIterator[OpenedMedia]:
        # What the header claims is refused before anything is decoded.
        width, height = await asyncio.to_thread(_measure, content, content_type)
        check_pixels(width, height)
        async with self._pixels.hold(width * height):
            yield Picture(content, _PILLOW_FORMATS[content_type])


def _opened(content: bytes, image_format: str) -> "Image":
    # Imported here because an idle service should not pay for it.
    from PIL import Image  # noqa: PLC0415

    # Our own limit is checked by `check_pixels`; Pillow would warn below it and refuse at twice its own.
    Image.MAX_IMAGE_PIXELS = None
    return Image.open(io.BytesIO(content), formats=[image_format])


def _measure(content: bytes, content_type: str) -> tuple[int, int]:
    check_parts(content, content_type)
    try:
        with warnings.catch_warnings(action="ignore"), _opened(content, _PILLOW_FORMATS[content_type]) as image:
            return image.size
    except _DAMAGE as error:
        raise unreadable("its header is damaged") from error


def _decode(content: bytes, image_format: str) -> tuple[int, int, bytearray]:
    from PIL import ImageOps  # noqa: PLC0415  see _opened

    try:
        with warnings.catch_warnings(action="ignore"), _opened(content, image_format) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image.width, image.height, _rgb(image)
    except _DAMAGE as error:
        raise unreadable("it is damaged or cut short") from error


def _rgb(image: "Image") -> bytearray:
    """Return the pixels row by row. Strip by strip: copies of a whole large picture would take half a gigabyte."""
    width, height = image.size
    rgb = bytearray(width * height * 3)
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, height)
        rgb[top * width * 3 : bottom * width * 3] = _on_white(image.crop((0, top, width, bottom))).tobytes()
    return rgb


def _on_white(image: "Image") -> "Image":
    """Return the picture in RGB; what is transparent becomes white, as paper is, and 16 bits become 8."""
    from PIL import Image  # noqa: PLC0415  see _opened

    if image.mode in ("I;16", "I;16B", "I"):
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        seen = image.convert("RGBA")
        paper = Image.new("RGB", seen.size, (255, 255, 255))
        paper.paste(seen, mask=seen.getchannel("A"))
        return paper
    return image if image.mode == "RGB" else image.convert("RGB")
