"""GGUF, versions 2 and 3: metadata, then where each tensor lies, then the tensors' bytes. Plain element types only.

Quantised tensors are for the programs that compute with them; here they are refused by name.
"""

from collections.abc import Sequence
from math import prod

from inference_server.models.safetensors_file import Entry
from inference_server.models.weights import WeightsError

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_TENSORS = 100_000
_MAX_METADATA = 100_000
_MAX_ITEMS = 4_000_000  # of all arrays of a file together: a vocabulary has some 200,000
_MAX_NAME = 1 << 16
_MAX_STRING = 64 << 20
_MAX_RANK = 8
_MAX_ALIGNMENT = 1 << 16
_MAX_DEPTH = 4
_STRING, _ARRAY, _U32 = 8, 9, 4
# Sizes of the metadata's plain values by their type.
_VALUES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
# ggml's number of a plain element type → its name and size.
_KINDS = {
    0: ("F32", 4), 1: ("F16", 2), 30: ("BF16", 2), 28: ("F64", 8),
    24: ("I8", 1), 25: ("I16", 2), 26: ("I32", 4), 27: ("I64", 8),
}  # fmt: skip


def entries(data: bytes) -> list[Entry]:
    """Return the file's tensors in the order of their bytes, shapes with the slowest dimension first.

    Raises WeightsError for anything that is not as it says, and for quantised tensors.
    """
    reader = _Reader(data)
    if reader.take(4) != MAGIC:
        raise WeightsError("no GGUF file")
    version = reader.number(4)
    if version not in _VERSIONS:
        raise WeightsError(f"GGUF version {version}; little-endian files of version 2 and 3 are read")
    tensors, metadata = reader.number(8), reader.number(8)
    if tensors > _MAX_TENSORS or metadata > _MAX_METADATA:
        raise WeightsError(f"a GGUF file that claims {tensors} tensors and {metadata} entries of metadata")
    alignment = 32
    for _ in range(metadata):
        key = reader.text(_MAX_NAME)
        alignment = reader.alignment() if key == "general.alignment" else reader.skipped(alignment)
    described = [_described(reader) for _ in range(tensors)]
    base = -(-reader.position // alignment) * alignment
    return _placed(described, base, alignment, len(data))


_Described = tuple[str, str, tuple[int, ...], int, int]


def _described(reader: "_Reader") -> _Described:
    """Read one tensor's description: name, element type, shape, offset and size in bytes."""
    name = reader.text(_MAX_NAME)
    rank = reader.number(4)
    if rank > _MAX_RANK:
        raise WeightsError(f"the tensor {name!r} has {rank} dimensions")
    shape = tuple(reader.number(8) for _ in range(rank))[::-1]
    number, offset = reader.number(4), reader.number(8)
    if number not in _KINDS:
        raise WeightsError(f"the tensor {name!r} is of ggml's type {number}, which is quantised or unknown")
    kind, size = _KINDS[number]
    return name, kind, shape, offset, prod(shape) * size


def _placed(described: Sequence[_Described], base: int, alignment: int, size: int) -> list[Entry]:
    """Say where the tensors lie in the file; refuse those that overlap, are not aligned or reach beyond its end."""
    if len({name for name, *_ in described}) != len(described):
        raise WeightsError("two tensors of a GGUF file have one name")
    found = sorted(
        (
            Entry(name, kind, shape, base + offset, base + offset + length)
            for name, kind, shape, offset, length in described
        ),
        key=lambda entry: (entry.start, entry.end),
    )
    end = base
    for entry in found:
        if entry.start < end or (entry.start - base) % alignment:
            raise WeightsError(f"the tensor {entry.name!r} overlaps its neighbour or is not aligned")
        end = entry.end
    if end > size:
        raise WeightsError(f"the tensors end at byte {end}, and the file at byte {size}")
    return found


class _Reader:
    """Reads little-endian values one after another; every read is inside of the file or a WeightsError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._items = 0
        self.position = 0

    def take(self, count: int) -> bytes:
        start = self.position
        self._skip(count)
        return self._data[start : self.position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def text(self, most: int) -> str:
        length = self.number(8)
        if length > most:
            raise WeightsError(f"a GGUF string of {length} bytes; at most {most} are read")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise WeightsError("a GGUF string that is not UTF-8") from error

    def alignment(self) -> int:
        """Read the value of `general.alignment`."""
        kind, value = self.number(4), self.number(4)
        if kind != _U32 or not 0 < value <= _MAX_ALIGNMENT or value & (value - 1):
            raise WeightsError(f"a GGUF alignment of {value}; it must be a power of two up to {_MAX_ALIGNMENT}")
        return value

    def skipped(self, alignment: int) -> int:
        """Skip one value of the metadata; returns `alignment` unchanged."""
        self._value(self.number(4), _MAX_DEPTH)
        return alignment

    def _value(self, kind: int, depth: int) -> None:
        if kind == _STRING:
            length = self.number(8)
            if length > _MAX_STRING:
                raise WeightsError(f"a GGUF string of {length} bytes; at most {_MAX_STRING} are read")
            self._skip(length)
        elif kind == _ARRAY and depth:
            self._array(depth - 1)
        elif kind in _VALUES:
            self._skip(_VALUES[kind])
        else:
            raise WeightsError(f"a GGUF value of unknown type {kind}, or arrays in arrays too deep")

    def _array(self, depth: int) -> None:
        kind, count = self.number(4), self.number(8)
        self._items += count
        if self._items > _MAX_ITEMS:
            raise WeightsError(f"GGUF arrays of more than {_MAX_ITEMS} items")
        if kind in _VALUES:
            self._skip(_VALUES[kind] * count)
        else:
            for _ in range(count):
                self._value(kind, depth)

    def _skip(self, count: int) -> None:
        if count > len(self._data) - self.position:
            raise WeightsError("a GGUF file that ends too early")
        self.position += count
