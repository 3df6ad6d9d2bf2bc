"""How many parts a picture's file has, looked at before a decoder sees it.

Decoders go through every chunk, segment and scan a file has: a JPEG of half a megabyte whose scans each touch every
pixel again keeps a core busy for a minute, and a thread that decodes cannot be stopped. Honest files have a handful.
"""

import re

from services.recognition.domain.media import unreadable

# Progressive JPEG has about ten scans.
_MAX_SCANS = 100
# Tables, comments and profiles; a colour profile of 16 MB takes 255 segments.
_MAX_SEGMENTS = 5_000
# Writers cut image data into chunks of 8 KiB and more, so a file of the largest size has 4,096.
_MAX_CHUNKS = 20_000

# 0xFF and a code; in image data 0xFF 0x00 stands for the byte itself and 0xD0 to 0xD7 only separate.
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_SOI, _TEM, _EOI, _SOS = 0xD8, 0x01, 0xD9, 0xDA


def check_parts(content: bytes, content_type: str) -> None:
    """Refuse a JPEG or PNG of more parts than any honest writer makes; WebP is read in native code throughout.

    Raises InvalidArgument (MEDIA_UNREADABLE). What is damaged passes: the decoder says it better.
    """
    if content_type == "image/jpeg":
        _check_jpeg(content)
    elif content_type == "image/png":
        _check_png(content)


def _check_jpeg(content: bytes) -> None:
    scans = segments = position = 0
    while marker := _MARKER.search(content, position):
        code, position = marker[1][0], marker.end()
        if code == _EOI:
            return
        if code in (_SOI, _TEM):  # they have no length
            continue
        segments += 1
        scans += code == _SOS
        if scans > _MAX_SCANS or segments > _MAX_SEGMENTS:
            raise unreadable("it has more parts than a picture needs")
        position += int.from_bytes(content[position : position + 2], "big")


def _check_png(content: bytes) -> None:
    chunks, position = 0, 8
    while position < len(content):
        chunks += 1
        if chunks > _MAX_CHUNKS:
            raise unreadable("it has more parts than a picture needs")
        # Length, kind, data, checksum.
        position += 12 + int.from_bytes(content[position : position + 4], "big")
