"""Tensors by name from the bytes of a safetensors or GGUF file, as views that are copied once, to a device."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_server.models import gguf_file, safetensors_file
from inference_server.models.formats import Format, format_of
from inference_server.models.safetensors_file import Entry
from inference_server.models.weights import WeightsError

_READERS = {Format.SAFETENSORS: safetensors_file.entries, Format.GGUF: gguf_file.entries}
# bfloat16 is no type of NumPy's: such a tensor comes as its 16-bit patterns, and `kind` says what they mean.
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a file: its element type as safetensors names it, and its values, read-only."""

    kind: str
    values: npt.NDArray[Any]


def read_tensors(data: bytes, what: str = "these bytes") -> Mapping[str, Tensor]:
    """Return the file's tensors by name; raises WeightsError when it is neither safetensors nor GGUF, or damaged."""
    found = format_of(data, what)
    if found not in _READERS:
        raise WeightsError(f"{what}: tensors are read from safetensors and GGUF, and this is {found}")
    return dict(_views(data, _READERS[found](data)))


def _views(data: bytes, entries: list[Entry]) -> Iterator[tuple[str, Tensor]]:
    for entry in entries:
        dtype = np.dtype(_DTYPES[entry.kind])
        count = (entry.end - entry.start) // dtype.itemsize
        yield entry.name, Tensor(entry.kind, np.frombuffer(data, dtype, count, entry.start).reshape(entry.shape))
