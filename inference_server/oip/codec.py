"""One model's tensors, prepared: what is true of every request is worked out once and then looked up.

On the hot path (one item, raw contents) a request and its response cost about 5 µs together.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from inference_server.engine import Item
from inference_server.models.model import ModelCard, Signature, TensorSpec
from inference_server.oip.classes import class_count, classified
from inference_server.oip.datatypes import DATATYPES, Datatype
from inference_server.oip.parameters import refuse_shared_memory
from inference_server.oip.refusals import MOST_DIMENSIONS, invalid, shape_text
from inference_server.oip.tensors import Array, check_shape, from_contents, from_raw, to_raw
from kserve import grpc_service_pb2
from services.kit.errors import CandelaError, Internal, InvalidArgument

MOST_ITEMS: Final = 4096  # in one request: more would hold up every other call while they are taken apart
_MOST_NAMED: Final = 64  # inputs of one request that a refusal looks at
_TOO_MANY_DIMENSIONS: Final = MOST_DIMENSIONS + 1
_MOST_KEPT: Final = 1024  # shapes and responses that are remembered; callers choose them, so they are bounded

_frombuffer = np.frombuffer
_Response = grpc_service_pb2.ModelInferResponse


class _Layout(NamedTuple):
    """An input of one shape. `size` is how many raw bytes make it, -1 where bytes must be looked at one by one.

    `shape` is that of the array to make: without the batch dimension when the batch is of one.
    """

    spec: TensorSpec
    batch: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int


class _Output(NamedTuple):
    """An output as a response shows it. `classes` is how many classes are wanted in its place, 0 for the tensor."""

    name: str
    kind: Datatype
    dtype: np.dtype[Any]
    classes: int = 0


class Codec:
    """Turns requests into one model's items, and its results into responses."""

    def __init__(self, card: ModelCard, signature: Signature[Any, Any]) -> None:
        """Prepare for a model; KeyError when its signature names a datatype that the protocol does not have."""
        self.card = card
        self._signature = signature
        self._batched = signature.batched
        self._inputs = {spec.name: spec for spec in signature.inputs}
        self._outputs = tuple(_output(spec) for spec in signature.outputs)
        self._by_name = {output.name: output for output in self._outputs}
        self._layouts: dict[tuple[Any, ...], _Layout] = {}
        self._templates: dict[tuple[Any, ...], bytes] = {}

    def items(self, request: grpc_service_pb2.ModelInferRequest) -> list[Item[Any]]:
        """Return the request's items, one for each place of the batch; raises InvalidArgument, Unimplemented.

        The whole request is refused for one bad item: the protocol has no errors of single items.
        """
        tensors, raws = request.inputs, request.raw_input_contents
        if len(tensors) != len(self._inputs):
            raise self._wrong_inputs([tensor.name for tensor in tensors[:_MOST_NAMED]])
        if raws and len(raws) != len(tensors):
            raise invalid(
                f"expected {len(tensors)} raw_input_contents, one for each input, but got {len(raws)} for model "
                f"'{self.card.name}'"
            )
        arrays: dict[str, Array] = {}
        batch, size, layouts = 1, 0, self._layouts
        for index, tensor in enumerate(tensors):
            key = (tensor.name, tensor.datatype, *tensor.shape[:_TOO_MANY_DIMENSIONS])
            layout = layouts.get(key) or self._layout(key)
            array, length = _read(layout, tensor, raws[index] if raws else None)
            if index and layout.batch != batch:
                raise invalid(f"input '{tensor.name}' has a batch of {layout.batch}, and the input before of {batch}")
            batch = layout.batch
            arrays[tensor.name] = array
            size += length
        if len(arrays) != len(self._inputs):
            raise self._wrong_inputs([tensor.name for tensor in tensors])
        item = self._signature.item
        if batch == 1:
            return [Item(item(arrays), size)]
        # [index, ...] and not [index]: an item without dimensions is to stay an array.
        split = ({name: array[index, ...] for name, array in arrays.items()} for index in range(batch))
        return [Item(item(one), size // batch) for one in split]

    def response(
        self, request: grpc_service_pb2.ModelInferRequest, results: Sequence[Any]
    ) -> grpc_service_pb2.ModelInferResponse:
        """Return the response of the items' results; raises the first error among them."""
        for result in results:
            if isinstance(result, CandelaError):
                raise result
        outputs = self._requested(request.outputs) if request.outputs else self._outputs
        shapes: list[tuple[int, ...]] = []
        raws: list[bytes] = []
        of_items = [self._signature.arrays(result) for result in results]
        for output in outputs:
            array = self._joined(output, of_items)
            kind = output.kind
            if output.classes:
                array, kind = classified(array, output.classes, batched=self._batched), DATATYPES["BYTES"]
            shapes.append(array.shape)
            raws.append(array.tobytes() if kind.width else to_raw(array, kind))
        response = _Response.FromString(self._template(outputs, shapes))
        if identity := request.id:
            response.id = identity
        response.raw_output_contents.extend(raws)
        return response

    def check_outputs(self, request: grpc_service_pb2.ModelInferRequest) -> None:
        """Refuse outputs that the model does not have, before it works for nothing."""
        self._requested(request.outputs)

    def _layout(self, key: tuple[Any, ...]) -> _Layout:
        """Check an input's name, datatype and shape, and remember what they come to."""
        name, datatype, shape = key[0], key[1], key[2:]
        spec = self._inputs.get(name)
        if spec is None:
            raise invalid(f"unexpected inference input '{name}' for model '{self.card.name}'", input=name)
        if datatype != spec.datatype:
            raise invalid(
                f"inference input '{name}' data-type is '{datatype}', but model '{self.card.name}' expects "
                f"'{spec.datatype}'",
                input=name,
                expected=spec.datatype,
            )
        check_shape(name, shape, (-1, *spec.shape) if self._batched else spec.shape)
        batch = shape[0] if self._batched else 1
        if not 1 <= batch <= MOST_ITEMS:
            raise invalid(f"input '{name}' has a batch of {batch}; a request takes 1 to {MOST_ITEMS}", input=name)
        kind = DATATYPES[datatype]
        plain = kind.width and kind.name != "BOOL"
        size = int(np.prod(shape, dtype=object)) * kind.width if plain else -1
        wanted = shape[1:] if self._batched and batch == 1 else shape
        layout = _Layout(spec, batch, wanted, np.dtype(kind.dtype), size)
        if len(self._layouts) >= _MOST_KEPT:
            self._layouts.clear()
        self._layouts[key] = layout
        return layout

    def _wrong_inputs(self, given: Sequence[str]) -> InvalidArgument:
        twice = sorted({name for name in given if given.count(name) > 1})
        unknown = [name for name in given if name not in self._inputs]
        missing = [name for name in self._inputs if name not in given]
        if twice:
            return invalid(f"input '{twice[0]}' is given more than once for model '{self.card.name}'", input=twice[0])
        if unknown:
            return invalid(f"unexpected inference input '{unknown[0]}' for model '{self.card.name}'", input=unknown[0])
        return invalid(
            f"expected {len(self._inputs)} inputs but got {len(given)} inputs for model '{self.card.name}'. Got "
            f"input(s) {list(given)}, but missing required input(s) {missing}. Please provide all required input(s).",
            missing=", ".join(missing),
        )

    def _requested(self, wanted: Sequence[Any]) -> tuple[_Output, ...]:
        """Return the outputs that a request names, in its order."""
        found: dict[str, _Output] = {}
        for one in wanted:
            output = self._by_name.get(one.name)
            if output is None:
                raise invalid(f"unexpected inference output '{one.name}' for model '{self.card.name}'", output=one.name)
            if one.name in found:
                raise invalid(f"output '{one.name}' is asked for more than once", output=one.name)
            if one.parameters:
                refuse_shared_memory(one)
                output = output._replace(classes=class_count(one, output.kind))
            found[one.name] = output
        return tuple(found.values())

    def _joined(self, output: _Output, of_items: Sequence[Mapping[str, Array]]) -> Array:
        """Return an output of all items as one array."""
        parts = [arrays[output.name] for arrays in of_items]
        wrong = next((part.dtype for part in parts if part.dtype != output.dtype), None)
        if wrong is not None:
            raise Internal(
                f"the model {self.card.name} gave {wrong} for its output {output.name} of {output.kind.name}",
                reason="MODEL_FAILED",
                metadata={"model": self.card.identity},
            )
        if not self._batched:
            return parts[0]
        if len(parts) == 1:
            return parts[0][np.newaxis]
        if any(part.shape != parts[0].shape for part in parts):
            shapes = ", ".join(sorted({shape_text(part.shape) for part in parts}))
            raise invalid(
                f"the items of this batch have outputs '{output.name}' of different shapes ({shapes}), which no one "
                "tensor holds: send them one by one",
                output=output.name,
            )
        return np.stack(parts)

    def _template(self, outputs: tuple[_Output, ...], shapes: Sequence[tuple[int, ...]]) -> bytes:
        """Return a response's bytes but for its id and contents: parsing them is cheaper than setting each field."""
        # All outputs is what most ask for: their shapes alone are the quicker key.
        wanted = () if outputs is self._outputs else tuple((output.name, output.classes) for output in outputs)
        key = (wanted, *shapes)
        template = self._templates.get(key)
        if template is None:
            response = _Response(model_name=self.card.name, model_version=self.card.version)
            for output, shape in zip(outputs, shapes, strict=True):
                datatype = "BYTES" if output.classes else output.kind.name
                response.outputs.add(name=output.name, datatype=datatype, shape=shape)
            if len(self._templates) >= _MOST_KEPT:
                self._templates.clear()
            template = self._templates[key] = response.SerializeToString()
        return template


def _output(spec: TensorSpec) -> _Output:
    kind = DATATYPES[spec.datatype]
    return _Output(spec.name, kind, np.dtype(kind.dtype))


def _read(layout: _Layout, tensor: Any, raw: bytes | None) -> tuple[Array, int]:
    """Return an input's array and how many bytes it holds."""
    if tensor.parameters:
        refuse_shared_memory(tensor)
    if raw is None:
        array = from_contents(layout.spec, tensor.contents, layout.shape)
        return array, max(array.nbytes, tensor.contents.ByteSize())
    if tensor.HasField("contents"):
        raise invalid(f"contents field must not be specified when using raw_input_contents for '{tensor.name}'")
    if len(raw) == layout.size:
        return _frombuffer(raw, layout.dtype).reshape(layout.shape), layout.size
    return from_raw(layout.spec, raw, layout.shape), len(raw)
