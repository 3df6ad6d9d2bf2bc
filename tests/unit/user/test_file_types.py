"""What kind of file some bytes are."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.user.api.files import disposition
from services.user.domain.file_types import HEAD_BYTES, sniff
from tests.support.printed_page import png, print_page

OFFICE = "application/vnd.openxmlformats-officedocument."
OPEN = "application/vnd.oasis.opendocument.text"


def picture(image_format: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, image_format)
    return out.getvalue()


def zipped(*names: str, mimetype: str = "") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        if mimetype:
            archive.writestr(zipfile.ZipInfo("mimetype"), mimetype)
        for name in names:
            archive.writestr(name, "words " * 50)
    return out.getvalue()


KINDS = (
    ("jpeg", picture("JPEG"), "image/jpeg"),
    ("png", png(print_page(["x"])), "image/png"),
    ("webp", picture("WEBP"), "image/webp"),
    ("gif", picture("GIF"), "image/gif"),
    ("bmp", picture("BMP"), "image/bmp"),
    ("tiff", picture("TIFF"), "image/tiff"),
    ("pdf", picture("PDF"), "application/pdf"),
    ("pdf after a line", b"\n%PDF-1.4", "application/pdf"),
    ("zip", zipped("a.txt"), "application/zip"),
    ("empty zip", zipped(), "application/zip"),
    ("docx", zipped("[Content_Types].xml", "_rels/.rels", "word/document.xml"), OFFICE + "wordprocessingml.document"),
    ("xlsx", zipped("_rels/.rels", "xl/workbook.xml"), OFFICE + "spreadsheetml.sheet"),
    ("pptx", zipped("[Content_Types].xml", "ppt/presentation.xml"), OFFICE + "presentationml.presentation"),
    ("a zip with a folder word", zipped("letters/a", "word/b"), "application/zip"),
    ("odt", zipped("content.xml", mimetype=OPEN), OPEN),
    ("a header in a zip", zipped("a", mimetype="text/html\r\nset-cookie: a=b"), "application/zip"),
    ("mp4", b"\0\0\0\x18ftypisom\0\0\0\0", "video/mp4"),
    ("mov", b"\0\0\0\x14ftypqt  ", "video/quicktime"),
    ("unknown brand", b"\0\0\0\x14ftypxxxx", "application/octet-stream"),
    ("webm", b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", "video/webm"),
    ("gzip", b"\x1f\x8b\x08\x00", "application/gzip"),
    ("text", "gr\u00fc\u00dfe\n".encode(), "text/plain"),
    ("text with a mark", b"\xef\xbb\xbfhello", "text/plain"),
    ("text that begins with BM", b"BM 123456789012345", "text/plain"),
    ("json", b'\n{"a": [1, 2]}', "application/json"),
    ("no json", b'{"a": [1, 2}', "text/plain"),
    ("deep json", b"[" * 200_000, "text/plain"),
    ("latin-1", b"gr\xfc\xdfe", "application/octet-stream"),
    ("a zero among text", b"hello\0", "application/octet-stream"),
    ("a character cut short", b"gr\xc3", "application/octet-stream"),
    ("html", b" \n<!DOCTYPE HTML><p>", "text/html"),
    ("script", b"<script>alert(1)</script>", "text/html"),
    ("xhtml", b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'>", "text/html"),
    ("svg", b"<svg/>", "image/svg+xml"),
    ("svg in xml", b"<?xml version='1.0'?>\n<svg/>", "image/svg+xml"),
    ("xml", b"<?xml version='1.0'?><a/>", "application/xml"),
)  # fmt: skip


@pytest.mark.parametrize(("content", "content_type"), [pytest.param(*kind[1:], id=kind[0]) for kind in KINDS])
def test_kinds(content: bytes, content_type: str) -> None:
    assert sniff(content, whole=True) == content_type


def test_only_the_beginning_is_there() -> None:
    text = ("\u4f60" * HEAD_BYTES).encode()[:HEAD_BYTES]
    assert len(text) % 3 != 0
    assert sniff(text, whole=False) == "text/plain"
    assert sniff(b'{"a": 1}', whole=False) == "text/plain"
    assert sniff(b"", whole=True) == "application/octet-stream"


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_have_a_type_that_can_be_a_header(content: bytes, whole: bool) -> None:
    for start in (b"", b"PK\x03\x04", b"RIFF", b"BM", b"\0\0\0\x18ftyp", b"<?xml", b"{"):
        kind = sniff(start + content, whole=whole)
        assert kind.isascii()
        assert kind.isprintable()
        assert len(kind) <= 100
        assert kind == kind.lower()


@given(st.text(max_size=60))
def test_any_name_makes_a_header_of_one_line(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    header = disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.startswith('attachment; filename="')
    assert header.count('"') == 2
