"""The process that renders one untrusted PDF, fenced in by resource limits, and ends with it.

PDFium is a large native library: a file that crashes it, or makes it eat memory or time, takes down this process and
nothing else. The parent speaks to it over stdin and stdout in frames: a 4-byte big-endian length, then that many bytes.
First frame in: the PDF. First frame out: JSON `{"pages": n}` or `{"error": "…"}`. Then for each frame in, a page
number as text, a JSON frame `{"width": w, "height": h}` or `{"error": …}` and, without an error, a frame of RGB bytes.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pypdfium2 as pdfium

_PR_SET_PDEATHSIG = 1

_MEMORY_BYTES = 1 << 30
_CPU_SECONDS = 120

# 200 dots an inch reads 8-point print well; PDF measures in points of 1/72 inch.
_SCALE = 200 / 72
# No page is rendered larger than this, however large it claims to be: poster pages are scaled down.
_MAX_SIDE = 5000


def send(stream: BinaryIO, payload: bytes) -> None:
    """Write one frame and flush it."""
    stream.write(struct.pack(">I", len(payload)))
    stream.write(payload)
    stream.flush()


def receive(stream: BinaryIO) -> bytes | None:
    """Read one frame; None at the end of the stream."""
    head = stream.read(4)
    return stream.read(struct.unpack(">I", head)[0]) if len(head) == 4 else None


def main() -> None:
    """Serve one document and end."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _end_with_the_service()
    # Frames go over the real stdout; whatever a library prints must not end up between them.
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    content = receive(sys.stdin.buffer)
    if content is not None:
        _serve(content, frames)


def _end_with_the_service() -> None:
    """Have the kernel end this process with its parent: in the middle of a page it would not see stdin close."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _serve(content: bytes, frames: BinaryIO) -> None:
    import pypdfium2 as pdfium  # noqa: PLC0415  after the limits are in force

    try:
        document = pdfium.PdfDocument(content)
        send(frames, json.dumps({"pages": len(document)}).encode())
    except pdfium.PdfiumError as error:
        locked = "password" in str(error).lower()
        why = "it is protected by a password" if locked else "it is damaged"
        send(frames, json.dumps({"error": why}).encode())
        return
    while (request := receive(sys.stdin.buffer)) is not None:
        try:
            _render(document, int(request), frames)
        except (pdfium.PdfiumError, MemoryError, ValueError, OSError):
            send(frames, json.dumps({"error": f"page {int(request)} is damaged"}).encode())


def _render(document: "pdfium.PdfDocument", number: int, frames: BinaryIO) -> None:
    page = document[number - 1]
    width, height = page.get_size()
    if not (1 <= width < 1e6 and 1 <= height < 1e6):
        raise ValueError("a page without a size")
    scale = min(_SCALE, _MAX_SIDE / max(width, height))
    bitmap = page.render(scale=scale, rev_byteorder=True, prefer_bgrx=False, fill_color=(255, 255, 255, 255))
    image = bitmap.to_pil().convert("RGB")
    send(frames, json.dumps({"width": image.width, "height": image.height}).encode())
    send(frames, image.tobytes())
    page.close()


if __name__ == "__main__":
    main()
