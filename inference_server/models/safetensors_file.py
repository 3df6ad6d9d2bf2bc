"""safetensors: a JSON header that says where each tensor lies, then the tensors' bytes, without gaps or overlaps.

The library of that name reads files too; here a tensor is a view of bytes whose hash was checked, never a copy.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from inference_server.models.weights import WeightsError

_LENGTH = 8
# The format allows 100 MB of header; a tensor takes about 100 bytes of it.
_MAX_HEADER = 16 << 20
_MAX_RANK = 16
_SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "BOOL": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor in a file: its element type (F32, I64, …), its shape, and where its bytes begin and end in the file."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def entries(data: bytes) -> list[Entry]:
    """Return the file's tensors in the order of their bytes; raises WeightsError when anything is not as it says."""
    length = int.from_bytes(data[:_LENGTH], "little")
    if len(data) < _LENGTH or length > len(data) - _LENGTH:
        raise WeightsError("no safetensors file: it is shorter than its header says")
    if length > _MAX_HEADER:
        raise WeightsError(f"a safetensors header of {length} bytes; at most {_MAX_HEADER} are read")
    base = _LENGTH + length
    header = _parsed(data[_LENGTH:base])
    _check_metadata(header.pop("__metadata__", {}))
    found = sorted((_entry(name, value, base) for name, value in header.items()), key=lambda entry: entry.start)
    _check_layout(found, base, len(data))
    return found


def _parsed(header: bytes) -> dict[str, Any]:
    if not header.startswith(b"{"):
        raise WeightsError("no safetensors file: its header is no JSON object")
    try:
        parsed: dict[str, Any] = json.loads(header, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"a damaged safetensors header: {error}") from error
    return parsed


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object, in which no name may stand twice: readers differ about which one counts."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands there twice")
    return made


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError("a safetensors header whose metadata are not strings")


def _entry(name: str, value: object, base: int) -> Entry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(f"the tensor {name!r} is not described by dtype, shape and data_offsets")
    kind, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str) or kind not in _SIZES:
        raise WeightsError(f"the tensor {name!r} has elements of type {kind!r}, which is not read here")
    if not _lengths(shape) or len(shape) > _MAX_RANK:
        raise WeightsError(f"the tensor {name!r} has no shape of at most {_MAX_RANK} dimensions")
    if not _lengths(offsets) or len(offsets) != 2:
        raise WeightsError(f"the tensor {name!r} has no two offsets")
    start, end = offsets
    if end - start != prod(shape) * _SIZES[kind]:
        raise WeightsError(f"the tensor {name!r} has {end - start} bytes, which is not what its shape takes")
    return Entry(name, kind, tuple(shape), base + start, base + end)


def _lengths(value: object) -> bool:
    return isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)


def _check_layout(found: Sequence[Entry], base: int, size: int) -> None:
    """Refuse tensors that overlap, leave a gap, or reach beyond the file."""
    end = base
    for entry in found:
        if entry.start != end:
            raise WeightsError(f"the tensor {entry.name!r} overlaps its neighbour or leaves a gap")
        end = entry.end
    if end != size:
        raise WeightsError(f"the tensors end at byte {end}, and the file at byte {size}")
