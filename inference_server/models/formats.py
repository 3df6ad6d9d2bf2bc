"""What a weight file may be, told by its bytes and never by its name: ONNX, safetensors, GGUF, or an archive of arrays.

A pickle is a program that runs when it is read. Every loader asks `require` first, which lets pass only what has the
structure of a format that holds nothing but numbers; everything else is refused before any library sees it, with the
reason when it is one of the containers that pickles come in.
"""

import pickletools
from collections.abc import Callable
from enum import StrEnum

from inference_server.models import gguf_file, npz_file, onnx_file, safetensors_file
from inference_server.models.weights import WeightsError

_ADVICE = "weights must be ONNX, safetensors or GGUF"

# What a file begins with → what it is. All of them can carry pickles, or code.
_CONTAINERS = {
    b"\x1f\x8b": "gzip data",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ\x00": "xz data",
    b"\x28\xb5\x2f\xfd": "Zstandard data",
    b"\x04\x22\x4d\x18": "LZ4 data",
    b"x\x01": "zlib data, as joblib writes",
    b"x\x5e": "zlib data, as joblib writes",
    b"x\x9c": "zlib data, as joblib writes",
    b"x\xda": "zlib data, as joblib writes",
    b"ZF0x": "a file of an old joblib",
    b"\x89HDF\r\n": "an HDF5 file, in which Keras keeps code",
}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_NUMPY = b"\x93NUMPY"
_TAR, _TAR_AT = b"ustar", 257
_ORT, _ORT_AT = b"ORTM", 4
# Enough to see that bytes are a pickle of the old text protocols, which begin with nothing special.
_PICKLE_LOOK = 1 << 16


class Format(StrEnum):
    """The formats that are read; each holds numbers and nothing that runs."""

    ONNX = "onnx"
    SAFETENSORS = "safetensors"
    GGUF = "gguf"
    NPZ = "npz"  # only in wheels whose hash is in our code


_STRUCTURES: dict[Format, Callable[[bytes], object]] = {
    Format.ONNX: onnx_file.parse,
    Format.SAFETENSORS: safetensors_file.entries,
    Format.GGUF: gguf_file.entries,
    Format.NPZ: npz_file.check,
}


def require(data: bytes, expected: Format, what: str = "these bytes") -> None:
    """Return if `data` is a whole and sound file of the expected format; raises WeightsError that names `what`."""
    forbidden = _forbidden(data, expected)
    if forbidden:
        raise WeightsError(f"{what}: {forbidden} is refused; {_ADVICE}")
    try:
        _STRUCTURES[expected](data)
    except WeightsError as error:
        if _is_pickle(data):
            raise WeightsError(f"{what}: a pickle, which is a program, is refused; {_ADVICE}") from error
        raise WeightsError(f"{what}: {error}") from error


def format_of(data: bytes, what: str = "these bytes") -> Format:
    """Return which of ONNX, safetensors and GGUF a file is; raises WeightsError when it is none or is damaged."""
    if data.startswith(gguf_file.MAGIC):
        found = Format.GGUF
    elif data[8:9] == b"{" and len(data) >= 8 and int.from_bytes(data[:8], "little") <= len(data) - 8:
        found = Format.SAFETENSORS
    else:
        found = Format.ONNX
    require(data, found, what)
    return found


def _forbidden(data: bytes, expected: Format) -> str:
    """Return what kind of container the bytes are by their first bytes, or nothing."""
    if data[:1] == b"\x80" and data[1:2] in (b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle, which is a program,"
    if data.startswith(_ZIP):
        return "" if expected is Format.NPZ else npz_file.describe(data)
    if data.startswith(_NUMPY):
        return "a NumPy array, which may hold a pickle,"
    if data[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        return "a tar archive"
    if data[_ORT_AT : _ORT_AT + len(_ORT)] == _ORT:
        return "a file in onnxruntime's own format, which is not checked here,"
    return next((name for magic, name in _CONTAINERS.items() if data.startswith(magic)), "")


def _is_pickle(data: bytes) -> bool:
    """Tell whether bytes are a pickle of an old protocol. `genops` reads opcodes one by one and runs none of them."""
    try:
        for _ in pickletools.genops(data[:_PICKLE_LOOK]):
            continue
    except Exception:  # noqa: BLE001 - whatever is wrong with bytes that are no pickle
        return False
    return bool(data)
