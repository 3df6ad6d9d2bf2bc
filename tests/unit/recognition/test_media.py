"""Bytes from strangers: what can be read is read right, everything else is refused with a typed error."""

import asyncio
import io
import os
import struct
import zlib
from collections.abc import Callable

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from services.kit.errors import InvalidArgument
from services.recognition.domain.media import MAX_PIXELS, PageImage, choose_pages, sniff
from services.recognition.providers.media import FencedMediaReader
from services.recognition.providers.pdf import PdfProcesses


def picture(image_format: str, mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 200).save(out, image_format) if mode in ("L", "1", "I;16") else Image.new(
        mode, size, "red"
    ).save(out, image_format)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def pdf(pages: int = 1, size: tuple[float, float] = (595, 842)) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=size)
    for number in range(1, pages + 1):
        canvas.drawString(100, 700, f"Page {number}")
        canvas.showPage()
    canvas.save()
    return out.getvalue()


async def read(content: bytes, pages: tuple[int, ...] = (), reader: FencedMediaReader | None = None) -> list[PageImage]:
    reader = reader or FencedMediaReader(PdfProcesses())
    async with reader.open(content, sniff(content)) as media:
        return [page async for page in media.pages(choose_pages(pages, media.page_count))]


def refused(error: "pytest.ExceptionInfo[InvalidArgument]") -> str:
    return error.value.reason


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
async def test_pictures_become_rgb_pages(image_format: str) -> None:
    [page] = await read(picture(image_format))
    assert (page.number, page.width, page.height) == (1, 40, 20)
    red, green, blue = page.rgb[:3]
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
async def test_every_kind_of_png_becomes_rgb(mode: str) -> None:
    [page] = await read(picture("PNG", mode))
    assert len(page.rgb) == 40 * 20 * 3


async def test_cmyk_jpeg_becomes_rgb() -> None:
    [page] = await read(picture("JPEG", "CMYK"))
    assert len(page.rgb) == 40 * 20 * 3


async def test_sixteen_bits_keep_their_brightness() -> None:
    out = io.BytesIO()
    Image.new("I;16", (4, 4), 0x8000).save(out, "PNG")
    [page] = await read(out.getvalue())
    assert set(page.rgb) == {0x80}


async def test_what_is_transparent_is_white_like_paper() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(out, "PNG")
    [page] = await read(out.getvalue())
    assert set(page.rgb) == {255}


async def test_a_photograph_is_turned_as_its_exif_says() -> None:
    out = io.BytesIO()
    image = Image.new("RGB", (40, 20), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(out, "JPEG", exif=exif)
    [page] = await read(out.getvalue())
    assert (page.width, page.height) == (20, 40)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "MEDIA_UNREADABLE", id="empty"),
        pytest.param(b"hello, this is text", "MEDIA_UNSUPPORTED", id="text"),
        pytest.param(b"GIF89a" + b"\0" * 100, "MEDIA_UNSUPPORTED", id="gif"),
        pytest.param(b"PK\x03\x04" + b"\0" * 100, "MEDIA_UNSUPPORTED", id="zip"),
        pytest.param(b"\xff\xd8\xff", "MEDIA_UNREADABLE", id="jpeg magic only"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "MEDIA_UNREADABLE", id="png magic only"),
        pytest.param(b"RIFF\0\0\0\0WEBP", "MEDIA_UNREADABLE", id="webp magic only"),
        pytest.param(b"%PDF-1.7\n", "MEDIA_UNREADABLE", id="pdf magic only"),
        pytest.param(picture("JPEG", size=(400, 300))[:-2000], "MEDIA_UNREADABLE", id="jpeg cut short"),
        pytest.param(picture("PNG", size=(400, 300))[:-100], "MEDIA_UNREADABLE", id="png cut short"),
        pytest.param(picture("WEBP", size=(400, 300))[:-50], "MEDIA_UNREADABLE", id="webp cut short"),
        pytest.param(png_header(65_000, 65_000), "MEDIA_TOO_LARGE", id="65k x 65k"),
        pytest.param(png_header(2**31 - 1, 1), "MEDIA_TOO_LARGE", id="one endless row"),
        pytest.param(png_header(0, 10), "MEDIA_UNREADABLE", id="no width"),
        pytest.param(png_header(100, 100), "MEDIA_UNREADABLE", id="header without pixels"),
    ],
)
async def test_bad_bytes_are_refused_with_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        await read(content)
    assert refused(error) == reason


async def test_a_huge_claim_costs_no_memory() -> None:
    before = psutil.Process().memory_info().rss
    for _ in range(3):
        with pytest.raises(InvalidArgument):
            await read(png_header(50_001, 1000))
    assert psutil.Process().memory_info().rss - before < 50 * 2**20
    assert MAX_PIXELS < 50_001 * 1000


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_anywhere_is_a_page_or_a_typed_error(data: st.DataObject) -> None:
    whole = bytearray(picture(data.draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    pages: list[PageImage] = []
    reason = "MEDIA_"
    try:
        pages = asyncio.run(read(bytes(whole)))
    except InvalidArgument as error:
        reason = error.reason
    assert reason.startswith("MEDIA_")
    assert all(len(page.rgb) == page.width * page.height * 3 for page in pages)


async def test_a_pdf_gives_its_pages_in_order_and_only_those_asked_for() -> None:
    assert [page.number for page in await read(pdf(3))] == [1, 2, 3]
    [page] = await read(pdf(3), (2,))
    assert page.number == 2
    assert abs(page.width / page.height - 595 / 842) < 0.01
    assert set(page.rgb) > {255}


@pytest.mark.parametrize("pages", [(0,), (4,), (1, 99)])
async def test_a_page_that_is_not_there_is_an_error_that_names_it(pages: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument) as error:
        await read(pdf(3), pages)
    assert error.value.violations[0].field.startswith("pages[")


def test_a_long_document_asks_for_page_numbers() -> None:
    with pytest.raises(InvalidArgument) as error:
        choose_pages((), 51)
    assert refused(error) == "MEDIA_TOO_LARGE"
    assert choose_pages((51, 2), 51) == [2, 51]


async def test_a_poster_page_is_rendered_no_larger_than_a_page_may_be() -> None:
    [page] = await read(pdf(size=(14_400, 14_400)))
    assert page.width * page.height <= MAX_PIXELS


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[: len(content) // 3], id="cut short"),
        pytest.param(lambda content: content[:9] + os.urandom(len(content) - 9), id="noise"),
    ],
)
async def test_a_damaged_pdf_is_refused(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InvalidArgument) as error:
        await read(damage(pdf(2)))
    assert refused(error) == "MEDIA_UNREADABLE"


async def test_no_process_is_left_after_success_failure_or_cancellation() -> None:
    mine = psutil.Process()
    await read(pdf())
    with pytest.raises(InvalidArgument):
        await read(b"%PDF-1.7\nnot at all")
    task = asyncio.create_task(read(pdf(40)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [child for child in mine.children() if "pdf_worker" in " ".join(child.cmdline())] == []


async def test_a_worker_that_dies_or_hangs_is_an_error_of_that_document_only() -> None:
    reader = FencedMediaReader(PdfProcesses())
    async with reader.open(pdf(2), "application/pdf") as media:
        [worker] = [c for c in psutil.Process().children() if "pdf_worker" in " ".join(c.cmdline())]
        worker.kill()
        with pytest.raises(InvalidArgument, match="reader fail"):
            [page async for page in media.pages([1])]
    slow = FencedMediaReader(PdfProcesses(step_seconds=0.001))
    with pytest.raises(InvalidArgument, match="too long"):
        await read(pdf(), reader=slow)
    assert len(await read(pdf(), reader=reader)) == 1
