"""Files made of very many parts are refused before a decoder goes through them; honest ones pass."""

import io
import os
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.kit.errors import InvalidArgument
from services.recognition.providers.parts import check_parts

_MAGIC = b"\x89PNG\r\n\x1a\n"


def jpeg(**options: object) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((200, 150), 60).convert("RGB").save(out, "JPEG", **options)
    return out.getvalue()


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_more_scans(content: bytes, times: int) -> bytes:
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * times + content[-2:]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(with_more_scans(jpeg(progressive=True), 200), "image/jpeg", id="scans"),
        pytest.param(jpeg()[:2] + b"\xff\xfe\x00\x02" * 6000 + jpeg()[2:], "image/jpeg", id="comments"),
        pytest.param(jpeg()[:2] + b"\xff\xff\xff\xfe\x00\x02" * 6000, "image/jpeg", id="comments after fill bytes"),
        pytest.param(_MAGIC + png_chunk(b"teXt") * 21_000, "image/png", id="chunks"),
        pytest.param(_MAGIC + png_chunk(b"IHDR") + png_chunk(b"IDAT") * 21_000, "image/png", id="pieces of data"),
    ],
)
def test_very_many_parts(content: bytes, kind: str) -> None:
    with pytest.raises(InvalidArgument, match="more parts") as caught:
        check_parts(content, kind)
    assert caught.value.reason == "MEDIA_UNREADABLE"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(jpeg(), "image/jpeg", id="baseline"),
        pytest.param(jpeg(progressive=True), "image/jpeg", id="progressive"),
        pytest.param(jpeg(icc_profile=os.urandom(2_000_000)), "image/jpeg", id="large profile"),
        pytest.param(jpeg(restart_marker_blocks=1), "image/jpeg", id="restart markers"),
        pytest.param(jpeg() + b"\xff\xda" * 500, "image/jpeg", id="a film behind the picture"),
        pytest.param(_MAGIC + png_chunk(b"IDAT", bytes(8192)) * 4096, "image/png", id="32 MiB in small chunks"),
    ],
)
def test_honest_files_pass(content: bytes, kind: str) -> None:
    check_parts(content, kind)


@given(st.sampled_from(["image/jpeg", "image/png", "image/webp"]), st.binary(max_size=300))
def test_damage_is_left_to_the_decoder(kind: str, noise: bytes) -> None:
    check_parts({"image/jpeg": b"\xff\xd8\xff", "image/png": _MAGIC}.get(kind, b"") + noise, kind)
