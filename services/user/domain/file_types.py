"""What kind of file some bytes are, told from the bytes and never from a name or a header.

Only the first MiB is looked at. What is recognised is what users of Candela keep; everything else is
`application/octet-stream`. Types that a browser would run (HTML, SVG, XML) are told as what they are: whoever hands
files out must not let them run.
"""

import codecs
import json

HEAD_BYTES = 1024 * 1024
"""How much of a file's beginning `sniff` looks at. JSON is told from other text by reading all of it, up to this."""

UNKNOWN = "application/octet-stream"
TEXT = "text/plain"

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\x93NUMPY", "application/x-npy"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (257, b"ustar", "application/x-tar"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif",
    b"M4A ": "audio/mp4", b"qt  ": "video/quicktime", b"M4V ": "video/mp4", b"isom": "video/mp4", b"iso2": "video/mp4",
    b"iso4": "video/mp4", b"iso5": "video/mp4", b"iso6": "video/mp4", b"mp41": "video/mp4", b"mp42": "video/mp4",
    b"avc1": "video/mp4", b"dash": "video/mp4",
}  # fmt: skip
_OFFICE = "application/vnd.openxmlformats-officedocument."
_OOXML = (
    (b"word/", _OFFICE + "wordprocessingml.document"),
    (b"xl/", _OFFICE + "spreadsheetml.sheet"),
    (b"ppt/", _OFFICE + "presentationml.presentation"),
)
_OOXML_FIRST = (b"[Content_Types].xml", b"_rels/", b"docProps/", b"word/", b"xl/", b"ppt/", b"customXml/")
_ENTRY = b"PK\x03\x04"
_ENTRY_NAME = 30  # bytes before the name in the header of a ZIP entry
# What stands in the first entry of such files is compared, never handed on: it becomes a header.
_OPEN_DOCUMENT = tuple(
    f"application/{kind}"
    for kind in (
        "epub+zip", "vnd.oasis.opendocument.graphics", "vnd.oasis.opendocument.presentation",
        "vnd.oasis.opendocument.spreadsheet", "vnd.oasis.opendocument.text",
    )
)  # fmt: skip
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
# Control characters that plain text has: backspace, tab, line feed, form feed, carriage return, escape.
_CONTROLS = bytes(set(range(32)) - {8, 9, 10, 12, 13, 27})


def sniff(head: bytes, *, whole: bool) -> str:
    """Return the media type of a file that begins with `head`; `whole` when these are all its bytes."""
    for start, magic, content_type in _MAGIC:
        if head.startswith(magic, start):
            return content_type
    return _container(head) or _text(head, whole=whole) or UNKNOWN


def _container(head: bytes) -> str:
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "")
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    if head[:4] in (_ENTRY, b"PK\x05\x06"):
        return _zip(head)
    # Readers accept a PDF's header anywhere in the first kilobyte (ISO 32000-1, annex H.3.4.1).
    return "application/pdf" if b"%PDF-" in head[:1024] else ""


def _zip(head: bytes) -> str:
    """Return what kind of ZIP this is by the names of its entries, which stand in the clear."""
    name_length = int.from_bytes(head[26:28], "little")
    first = head[_ENTRY_NAME : _ENTRY_NAME + name_length]
    if first == b"mimetype":  # the first entry, not compressed, holds the type
        held = head[_ENTRY_NAME + name_length : _ENTRY_NAME + name_length + 100]
        for known in _OPEN_DOCUMENT:
            if held.startswith(known.encode()):
                return known
    if first.startswith(_OOXML_FIRST):
        for folder, content_type in _OOXML:
            if any(entry[_ENTRY_NAME - 4 :].startswith(folder) for entry in head.split(_ENTRY)[1:]):
                return content_type
    return "application/zip"


def _text(head: bytes, *, whole: bool) -> str:
    decoded = _decoded(head, whole=whole)
    if decoded is None:
        return ""
    begin = decoded.lstrip("\ufeff \t\r\n").lower()
    if begin.startswith(("<!doctype html", "<html", "<head", "<body", "<script", "<iframe", "<!--")):
        return "text/html"
    if begin.startswith(("<?xml", "<svg", "<!doctype svg")):
        return _markup(begin)
    if whole and begin.startswith(("{", "[")) and _is_json(decoded):
        return "application/json"
    return TEXT


def _markup(begin: str) -> str:
    if "<svg" in begin[:4096]:
        return "image/svg+xml"
    return "text/html" if "<html" in begin[:4096] else "application/xml"


def _decoded(head: bytes, *, whole: bool) -> str | None:
    """Return the text that the bytes are in UTF-8; None for what is no text. A character cut at the end is fine."""
    if not head or len(head.translate(None, _CONTROLS)) < len(head):
        return None
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(head, final=whole)
    except UnicodeDecodeError:
        return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
