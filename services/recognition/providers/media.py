"""Untrusted bytes to pages of pixels: Pillow for pictures, a fenced-in PDFium process for PDF."""

import asyncio
import io
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from services.recognition.domain.media import PageImage, check_pixels, unreadable
from services.recognition.ports import OpenedMedia
from services.recognition.providers.pdf import PdfProcesses

if TYPE_CHECKING:
    from PIL.Image import Image

_PILLOW_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}

# What Pillow raises on damaged files, as its decoders do not keep to one type.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError)


class Picture:
    """A picture whose header was read: a document of one page."""

    page_count = 1

    def __init__(self, content: bytes, content_type: str, slots: asyncio.Semaphore) -> None:
        self._content = content
        self._format = _PILLOW_FORMATS[content_type]
        self._slots = slots

    async def check(self) -> None:
        """Read the header and refuse what it claims before anything is decoded."""
        width, height = await asyncio.to_thread(_measure, self._content, self._format)
        check_pixels(width, height)

    async def pages(self, numbers: Sequence[int]) -> AsyncIterator[PageImage]:
        """Decode the picture, upright by its EXIF rotation and in RGB. A decoder works on few pictures at a time."""
        for number in numbers:
            async with self._slots:
                width, height, rgb = await asyncio.to_thread(_decode, self._content, self._format)
            yield PageImage(number, width, height, memoryview(rgb))


class FencedMediaReader:
    """Reads pictures in a thread and PDF in a process of its own, a few at a time so that memory stays bounded."""

    def __init__(self, pdf: PdfProcesses, concurrent_decodes: int = 2) -> None:
        """A decode takes up to 150 MB for the largest page, times `concurrent_decodes`."""
        self._pdf = pdf
        self._slots = asyncio.Semaphore(concurrent_decodes)

    def open(self, content: bytes, content_type: str) -> AbstractAsyncContextManager[OpenedMedia]:
        """Read the header of a picture or PDF; the type is one that `sniff` returned."""
        if content_type == "application/pdf":
            return self._pdf.open(content)
        return self._open_picture(content, content_type)

    @asynccontextmanager
    async def _open_picture(self, content: bytes, content_type: str) -> AsyncIterator[OpenedMedia]:
        picture = Picture(content, content_type, self._slots)
        await picture.check()
        yield picture


def _opened(content: bytes, image_format: str) -> "Image":
    # Imported here because an idle service should not pay for it.
    from PIL import Image  # noqa: PLC0415

    # Our own limit is checked by `check_pixels`; Pillow would warn below it and refuse at twice its own.
    Image.MAX_IMAGE_PIXELS = None
    return Image.open(io.BytesIO(content), formats=[image_format])


def _measure(content: bytes, image_format: str) -> tuple[int, int]:
    try:
        with warnings.catch_warnings(action="ignore"), _opened(content, image_format) as image:
            return image.size
    except _DAMAGE as error:
        raise unreadable("its header is damaged") from error


def _decode(content: bytes, image_format: str) -> tuple[int, int, bytes]:
    from PIL import ImageOps  # noqa: PLC0415  see _opened

    try:
        with warnings.catch_warnings(action="ignore"), _opened(content, image_format) as image:
            image.load()
            upright = _on_white(ImageOps.exif_transpose(image))
            return upright.width, upright.height, upright.tobytes()
    except _DAMAGE as error:
        raise unreadable("it is damaged or cut short") from error


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
