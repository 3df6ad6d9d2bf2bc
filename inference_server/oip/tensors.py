"""One tensor of the protocol to an array and back. What does not fit its shape to the byte is refused."""

import math
from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inference_server.models.model import TensorSpec
from inference_server.oip.datatypes import DATATYPES, Datatype
from inference_server.oip.refusals import MOST_DIMENSIONS, invalid, shape_text
from kserve import grpc_service_pb2

Array = npt.NDArray[Any]

MOST_STRINGS: Final = 2**16  # in one tensor of BYTES, and MOST_TYPED where elements are typed out: they are walked one
MOST_TYPED: Final = 2**20  # by one while every other call waits, some 20 ms at these bounds
_MOST_ELEMENTS: Final = 2**40  # far beyond any message, and far below where numpy's own arithmetic ends
_LENGTH: Final = Struct("<I")


def check_shape(name: str, shape: Sequence[int], wanted: Sequence[int]) -> None:
    """Refuse a shape that is impossible, or that is not of the kind `wanted` (-1 stands for any length)."""
    if len(shape) > MOST_DIMENSIONS or any(length < 0 for length in shape):
        raise invalid(f"input '{name}' has the shape {shape_text(shape)}, which no tensor has", input=name)
    if math.prod(length or 1 for length in shape) > _MOST_ELEMENTS:
        raise invalid(f"input '{name}' has the shape {shape_text(shape)}, which is too large", input=name)
    fits = len(shape) == len(wanted) and all(want in (-1, got) for got, want in zip(shape, wanted, strict=True))
    if not fits:
        raise invalid(
            f"unexpected shape for input '{name}': expected {shape_text(wanted)}, got {shape_text(shape)}",
            input=name,
            expected=shape_text(wanted),
            shape=shape_text(shape),
        )


def from_raw(spec: TensorSpec, raw: bytes, shape: Sequence[int]) -> Array:
    """Return the array that `raw` holds: little-endian elements, row by row. Nothing is copied, except of BYTES."""
    kind = DATATYPES[spec.datatype]
    count = math.prod(shape)
    if kind.width == 0:
        return _from_lengths(spec.name, raw, count).reshape(shape)
    if len(raw) != count * kind.width:
        raise invalid(
            f"input '{spec.name}' has {len(raw)} bytes, and its shape {shape_text(shape)} of {kind.name} needs "
            f"{count * kind.width}",
            input=spec.name,
        )
    if kind.name == "BOOL" and raw.strip(b"\0\1"):
        # A bool of any other byte would be true, and still differ from true in every comparison.
        raise invalid(f"input '{spec.name}' is of BOOL and has bytes other than 0 and 1", input=spec.name)
    return np.frombuffer(raw, kind.dtype).reshape(shape)


def _from_lengths(name: str, raw: bytes, count: int) -> Array:
    """Read elements that each follow their length in four bytes."""
    if count > MOST_STRINGS:
        raise invalid(f"input '{name}' has {count} elements of BYTES; at most {MOST_STRINGS} are taken", input=name)
    if count * _LENGTH.size > len(raw):
        raise invalid(f"input '{name}' ends before its {count} elements do", input=name)
    elements = np.empty(count, np.object_)
    place, end = 0, len(raw)
    for index in range(count):
        begin = place + _LENGTH.size
        place = begin + _LENGTH.unpack_from(raw, place)[0] if begin <= end else end + 1
        if place > end:
            raise invalid(f"input '{name}' ends within element {index} of {count}", input=name)
        elements[index] = raw[begin:place]
    if place != end:
        raise invalid(f"input '{name}' has {end - place} bytes after its {count} elements", input=name)
    return elements


def from_contents(spec: TensorSpec, contents: grpc_service_pb2.InferTensorContents, shape: Sequence[int]) -> Array:
    """Return the array whose elements are typed out in `contents`."""
    kind = DATATYPES[spec.datatype]
    if not kind.contents:
        raise invalid(f"input '{spec.name}' is of {kind.name}, which only raw_input_contents can hold", input=spec.name)
    others = [field.name for field, _ in contents.ListFields() if field.name != kind.contents]
    if others:
        raise invalid(
            f"input '{spec.name}' is of {kind.name} and belongs in {kind.contents}, not in {others[0]}", input=spec.name
        )
    elements = getattr(contents, kind.contents)
    count = math.prod(shape)
    if len(elements) != count:
        raise invalid(
            f"input '{spec.name}' has {len(elements)} elements, and its shape {shape_text(shape)} needs {count}",
            input=spec.name,
        )
    if count > MOST_TYPED:
        raise invalid(
            f"input '{spec.name}' has {count} elements; beyond {MOST_TYPED} they belong in raw_input_contents",
            input=spec.name,
        )
    return _array_of(spec.name, elements, kind).reshape(shape)


def _array_of(name: str, elements: Sequence[Any], kind: Datatype) -> Array:
    array = np.empty(len(elements), kind.dtype)
    try:
        array[:] = list(elements)  # of a list every element is checked; of protobuf's own sequence it would be cut off
    except OverflowError as error:
        raise invalid(f"input '{name}' has an element that is no {kind.name}: {error}", input=name) from None
    array.flags.writeable = False  # as arrays of raw bytes are
    return array


def to_raw(array: Array, kind: Datatype) -> bytes:
    """Return an array's elements as raw contents. Its dtype must be the datatype's."""
    if kind.width:
        return array.tobytes()
    parts: list[bytes] = []
    for element in array.ravel():
        value = element.encode() if isinstance(element, str) else bytes(element)
        parts += _LENGTH.pack(len(value)), value
    return b"".join(parts)
