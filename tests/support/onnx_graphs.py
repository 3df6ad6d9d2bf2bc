"""ONNX models of a few nodes, written byte by byte, so that tests need no package and can write what is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field

FLOAT, INT64, STRING = 1, 7, 8


def varint(number: int, value: int) -> bytes:
    """Returns a protobuf field that holds a number."""
    return _number(number << 3) + _number(value)


def part(number: int, value: bytes | str) -> bytes:
    """Returns a protobuf field that holds bytes, a text or a message."""
    data = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | 2) + _number(len(data)) + data


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def value(name: str, element: int, shape: Sequence[int | str]) -> bytes:
    """Returns a ValueInfoProto; a text in the shape names an open dimension."""
    dimensions = b"".join(
        part(1, varint(1, length) if isinstance(length, int) else part(2, length)) for length in shape
    )
    return part(1, name) + part(2, part(1, varint(1, element) + part(2, dimensions)))


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], attributes: bytes = b"") -> bytes:
    """Returns a NodeProto."""
    return b"".join(
        [*(part(1, one) for one in inputs), *(part(2, one) for one in outputs), part(4, operator), attributes]
    )


def stored(name: str, shape: Sequence[int], data: bytes, element: int = FLOAT) -> bytes:
    """Returns a TensorProto that holds its data."""
    return b"".join(varint(1, length) for length in shape) + varint(2, element) + part(8, name) + part(9, data)


def elsewhere(name: str, shape: Sequence[int], location: str, element: int = FLOAT) -> bytes:
    """Returns a TensorProto whose data are in another file."""
    entry = part(13, part(1, "location") + part(2, location))
    return b"".join(varint(1, length) for length in shape) + varint(2, element) + part(8, name) + entry + varint(14, 1)


@dataclass
class Graph:
    """A model: values from `value`, nodes from `node`, tensors from `stored` or `elsewhere`."""

    inputs: Sequence[bytes]
    outputs: Sequence[bytes]
    nodes: Sequence[bytes]
    tensors: Sequence[bytes] = field(default_factory=list)

    def encoded(self) -> bytes:
        """Returns the bytes of the ModelProto."""
        graph = b"".join(
            [
                *(part(1, one) for one in self.nodes),
                part(2, "graph"),
                *(part(5, one) for one in self.tensors),
                *(part(11, one) for one in self.inputs),
                *(part(12, one) for one in self.outputs),
            ]
        )
        return varint(1, 8) + part(7, graph) + part(8, part(1, "") + varint(2, 17))


def doubling(batch: int | str = "N", length: int | str = 3, element: int = FLOAT) -> bytes:
    """Returns a model that adds its input `x` to itself: `y` = 2 `x`."""
    shape = (batch, length)
    return Graph([value("x", element, shape)], [value("y", element, shape)], [node("Add", ["x", "x"], ["y"])]).encoded()
