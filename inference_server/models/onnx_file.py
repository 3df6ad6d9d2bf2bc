"""ONNX files without the onnx package: what a graph takes and gives, and which other files it asks for.

A small reader of protobuf's wire format that never looks at the weights themselves, so it takes milliseconds; every
length, depth and count is bounded. The numbers of fields are those of onnx.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from inference_server.models.weights import WeightsError

_MAX_FIELDS = 4_000_000
_MAX_DEPTH = 32
_MAX_IR_VERSION = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1  # TensorProto.DataLocation

# A part of the file: where it begins and ends.
_Part: TypeAlias = tuple[int, int]
_Value: TypeAlias = int | _Part

# Kind of message → field number → kind of message in it. Only ways that lead to a tensor are followed.
_CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An input or output: its element type (a number of TensorProto.DataType) and dimensions, None for any length.

    The element type is 0 for what is no tensor (a sequence, a map); the shape is None where even the rank is open.
    """

    name: str
    element: int
    shape: tuple[int | None, ...] | None


@dataclass(slots=True)
class OnnxGraph:
    """What a model takes and gives, and the names of the files beside it that hold some of its weights."""

    inputs: list[GraphTensor] = field(default_factory=list)
    outputs: list[GraphTensor] = field(default_factory=list)
    external: set[str] = field(default_factory=set)


def parse(data: bytes) -> OnnxGraph:
    """Read a model's outline; raises WeightsError when the bytes are no ONNX model, or ask for files elsewhere."""
    try:
        return _Outline(data).graph
    except IndexError as error:
        raise WeightsError("no ONNX model: it ends too early") from error


class _Outline:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = _MAX_FIELDS
        self.graph = OnnxGraph()
        model = list(self._fields((0, len(data))))
        versions = [value for number, value in model if number == 1 and isinstance(value, int)]
        graphs = [value for number, value in model if number == 7 and not isinstance(value, int)]
        opsets = [value for number, value in model if number == 8]
        if len(versions) != 1 or not 1 <= versions[0] <= _MAX_IR_VERSION or len(graphs) != 1 or not opsets:
            raise WeightsError("no ONNX model: it has no version, no operator set, or not one graph")
        self._values(graphs[0])
        self._walk("model", (0, len(data)), _MAX_DEPTH)

    def _walk(self, kind: str, part: _Part, depth: int) -> None:
        """Find the tensors that lie in other files, wherever in the model they are."""
        if not depth:
            raise WeightsError(f"an ONNX model nested deeper than {_MAX_DEPTH} levels")
        children = _CHILDREN[kind]
        external, location = False, ""
        for number, value in self._fields(part):
            if isinstance(value, int):
                external |= kind == "tensor" and number == 14 and value == _EXTERNAL
            elif number in children:
                self._walk(children[number], value, depth - 1)
            elif kind == "tensor" and number == 13:
                location = self._entry(value).get("location", location)
                external = True
        if external:
            self.graph.external.add(_beside(location))

    def _values(self, graph: _Part) -> None:
        """Note the graph's inputs, without those that are weights with a name, and its outputs."""
        weights: set[str] = set()
        for number, value in self._fields(graph):
            if isinstance(value, int):
                continue
            if number == 5:
                weights.update(self._texts(value, 8))
            elif number == 11:
                self.graph.inputs.append(self._tensor(value))
            elif number == 12:
                self.graph.outputs.append(self._tensor(value))
        self.graph.inputs = [tensor for tensor in self.graph.inputs if tensor.name not in weights]

    def _tensor(self, part: _Part) -> GraphTensor:
        name = next(self._texts(part, 1), "")
        element, shape = 0, None
        for kind in self._parts(part, 2):
            for tensor in self._parts(kind, 1):
                element = next((v for n, v in self._fields(tensor) if n == 1 and isinstance(v, int)), 0)
                for dimensions in self._parts(tensor, 2):
                    shape = tuple(self._length(one) for one in self._parts(dimensions, 1))
        return GraphTensor(name, element, shape)

    def _length(self, dimension: _Part) -> int | None:
        values = [value for number, value in self._fields(dimension) if number == 1 and isinstance(value, int)]
        return values[-1] if values and 0 <= values[-1] < 1 << 62 else None

    def _entry(self, part: _Part) -> dict[str, str]:
        return {next(self._texts(part, 1), ""): next(self._texts(part, 2), "")}

    def _parts(self, part: _Part, wanted: int) -> Iterator[_Part]:
        for number, value in self._fields(part):
            if number == wanted and not isinstance(value, int):
                yield value

    def _texts(self, part: _Part, wanted: int) -> Iterator[str]:
        for start, end in self._parts(part, wanted):
            try:
                yield self._data[start:end].decode()
            except UnicodeDecodeError as error:
                raise WeightsError("no ONNX model: a name is not UTF-8") from error

    def _fields(self, part: _Part) -> Iterator[tuple[int, _Value]]:
        """Yield a message's fields: a number, or where the bytes of a nested value begin and end."""
        position, end = part
        while position < end:
            self._left -= 1
            if not self._left:
                raise WeightsError(f"an ONNX model of more than {_MAX_FIELDS} fields")
            key, position = self._varint(position)
            number, wire = key >> 3, key & 7
            if wire == _VARINT:
                value, position = self._varint(position)
                yield number, value
            elif wire == _BYTES:
                length, position = self._varint(position)
                if length > end - position:
                    raise WeightsError("no ONNX model: a part reaches beyond the one around it")
                yield number, (position, position + length)
                position += length
            elif wire in (_FIXED32, _FIXED64):
                position += 4 if wire == _FIXED32 else 8
            else:
                raise WeightsError("no ONNX model: its bytes are no protobuf message")
            if not number or position > end:
                raise WeightsError("no ONNX model: its bytes are no protobuf message")

    def _varint(self, position: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise WeightsError("no ONNX model: a number has no end")


def _beside(location: str) -> str:
    """Return the name of a file in the model's folder; refuse any other way of naming a file."""
    parts = location.split("/")
    if not location or "\\" in location or "\0" in location or any(part in ("", ".", "..") for part in parts):
        raise WeightsError(f"the ONNX model asks for the file {location!r}, which is not in its own folder")
    return location
