"""What may be sent in to be read, and the errors for what may not."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.kit.errors import FieldViolation, InvalidArgument

SUPPORTED = ("image/jpeg", "image/png", "image/webp", "application/pdf")

MAX_BYTES = 32 * 1024 * 1024
# 50 megapixels hold an A3 page at 600 dpi; decoded they take 150 MB.
MAX_PIXELS = 50_000_000
# With every character in it, the answer for a page of a newspaper takes 1.5 MB: these bounds keep answers under 20 MB.
MAX_PAGES_PER_CALL = 50
MAX_PAGES_WITH_CHARACTERS = 10


@dataclass(frozen=True, slots=True)
class PageImage:
    """One decoded page: `rgb` holds height × width × 3 bytes, row by row from the top."""

    number: int
    width: int
    height: int
    rgb: memoryview


def sniff(content: bytes) -> str:
    """Return the media type that the first bytes prove; InvalidArgument for nothing or for something else."""
    if not content:
        raise InvalidArgument("the document is empty", reason="MEDIA_UNREADABLE")
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    # Readers accept a PDF header anywhere in the first kilobyte (ISO 32000-1, annex H.3.4.1).
    if b"%PDF-" in content[:1024]:
        return "application/pdf"
    raise InvalidArgument(
        f"the bytes are none of {', '.join(SUPPORTED)}",
        reason="MEDIA_UNSUPPORTED",
        metadata={"supported": ", ".join(SUPPORTED)},
    )


def check_bytes(size: int) -> None:
    """Refuse a document that is too large; the contract's rules have done so for one that was sent along."""
    if size > MAX_BYTES:
        raise InvalidArgument(
            f"the document has {size} bytes, more than {MAX_BYTES}",
            reason="REQUEST_TOO_LARGE",
            metadata={"limit_bytes": str(MAX_BYTES), "size_bytes": str(size)},
        )


def check_pixels(width: int, height: int) -> None:
    """Refuse a picture of no or too many pixels by what its header says, before anything is decoded."""
    if width <= 0 or height <= 0:
        raise unreadable("the picture has no pixels")
    if width * height > MAX_PIXELS:
        raise InvalidArgument(
            f"{width} × {height} pixels are more than {MAX_PIXELS}",
            reason="MEDIA_TOO_LARGE",
            metadata={"limit_pixels": str(MAX_PIXELS), "width": str(width), "height": str(height)},
        )


def choose_pages(wanted: Sequence[int], page_count: int, limit: int = MAX_PAGES_PER_CALL) -> list[int]:
    """Return the numbers of the pages to read, ascending; all of them when none are named.

    Raises InvalidArgument for a page the document does not have and for more pages than `limit`, what one call reads.
    """
    if page_count <= 0:
        raise unreadable("the document has no pages")
    for position, number in enumerate(wanted):
        if not 1 <= number <= page_count:
            message = f"there is no page {number} in a document of {page_count}"
            raise InvalidArgument(message, violations=[FieldViolation(f"pages[{position}]", message)])
    chosen = sorted(set(wanted)) or list(range(1, page_count + 1))
    if len(chosen) > limit:
        raise InvalidArgument(
            f"{len(chosen)} pages are to be read and one such call reads {limit}: name fewer in `pages`",
            reason="MEDIA_TOO_LARGE",
            metadata={"limit_pages": str(limit), "pages": str(page_count)},
        )
    return chosen


def unreadable(why: str) -> InvalidArgument:
    """Return the error for bytes that begin like a document and are none."""
    return InvalidArgument(f"the document cannot be read: {why}", reason="MEDIA_UNREADABLE")
