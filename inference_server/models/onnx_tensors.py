"""Any ONNX graph as a model: its inputs and outputs are tensors, batched along their first dimension where it is open.

A graph whose first dimension is a fixed number is one item a run, unless its manifest says that this number is its
batch: then shorter batches are filled up with zeros.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from inference_server.models import onnx_file
from inference_server.models.array_signature import ArraySignature
from inference_server.models.device import Runtime
from inference_server.models.formats import Format, require
from inference_server.models.manifest import Manifest
from inference_server.models.model import Arrays, ModelCard, TensorSpec, run_prepared
from inference_server.models.onnx_file import GraphTensor, OnnxGraph
from inference_server.models.sessions import frugal, open_session
from inference_server.models.weights import WeightsError
from services.kit.errors import CandelaError, InvalidArgument

PLATFORM = "onnxruntime_onnx"
# Items that fit one batch where the manifest says nothing; which number is best the engine finds out.
_MAX_BATCH = 64
# TensorProto.DataType → the protocol's datatype. Others (bfloat16, complex, 8-bit floats) have no arrays in NumPy.
_DATATYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "BYTES",
    9: "BOOL", 10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64",
}  # fmt: skip


class OnnxTensors:
    """A graph behind the model protocol. On CPUs each instance runs on its share of the cores."""

    def __init__(
        self, card: tuple[str, str], manifest: Manifest, weights: bytes, beside: Mapping[str, bytes], runtime: Runtime
    ) -> None:
        """Take name and version, and the bytes of the graph and of the files beside it; raises WeightsError."""
        name, version = card
        require(weights, Format.ONNX, "its graph")
        graph = onnx_file.parse(weights)
        batch = _batch(graph, manifest.max_batch)
        instances = manifest.instances or (runtime.cores if runtime.on_cpu else 1)
        self.card = ModelCard(name, version, max_batch=batch or 1, instances=instances, platform=PLATFORM)
        self.signature = _signature(graph, batched=bool(batch))
        try:
            self.signature.check_samples(manifest.samples)
        except InvalidArgument as error:
            raise WeightsError(f"the manifest's {error.message}") from error
        self._shapes = manifest.samples
        self._fixed = batch if graph.inputs and graph.inputs[0].shape and graph.inputs[0].shape[0] else 0
        self._runtime = runtime
        self._files: tuple[bytes, Mapping[str, bytes]] | None = (weights, beside)
        self._session: onnxruntime.InferenceSession | None = None
        self._names = [spec.name for spec in self.signature.outputs]
        self._texts = {spec.name for spec in self.signature.inputs if spec.datatype == "BYTES"}
        self._text_outputs = {spec.name for spec in self.signature.outputs if spec.datatype == "BYTES"}
        # What varies in shape would make the arena keep the most that any shape needed.
        self._options = frugal(runtime) if any(-1 in spec.shape for spec in self.signature.inputs) else None

    def load(self) -> None:
        if self._files is None:
            raise WeightsError(f"the model {self.card.identity} was loaded before")
        weights, beside = self._files
        threads = max(1, self._runtime.cores // self.card.instances) if self._runtime.on_cpu else 1
        self._session = open_session(weights, self._runtime, threads=threads, beside=beside)
        self._files = None  # the session has what it needs

    def samples(self) -> Sequence[Arrays]:
        return self.signature.samples(self._shapes)

    def warm_up(self) -> None:
        for sample in self.samples():
            self.run([sample])

    def bucket(self, item: Arrays) -> Any:
        return self.signature.bucket(item)

    def run(self, batch: Sequence[Arrays]) -> "Sequence[Arrays | CandelaError]":
        if self._texts:
            return run_prepared(batch, self._decoded, self._computed)
        return self._computed(batch)

    def close(self) -> None:
        self._session = None
        self._files = None

    def _computed(self, batch: Sequence[Arrays]) -> list[Arrays]:
        if self._session is None:
            raise RuntimeError(f"the model {self.card.identity} is used before load()")
        if not self.signature.batched:
            return [self._split(self._session.run(self._names, dict(item), self._options)) for item in batch]
        feeds = {spec.name: self._joined([item[spec.name] for item in batch]) for spec in self.signature.inputs}
        outputs = self._session.run(self._names, feeds, self._options)
        for name, output in zip(self._names, outputs, strict=True):
            if len(output) != (self._fixed or len(batch)):
                raise RuntimeError(f"the output {name} of {self.card.identity} has no place for each item")
        # Views of the batch's outputs, and [index, ...] so that a number stays an array without dimensions.
        return [self._split([output[index, ...] for output in outputs]) for index in range(len(batch))]

    def _joined(self, arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Return the items' arrays as one tensor; one item alone is not copied."""
        if self._fixed > len(arrays):
            full = np.zeros((self._fixed, *arrays[0].shape), arrays[0].dtype)
            for place, array in zip(full, arrays, strict=False):
                place[...] = array
            return full
        return arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)

    def _split(self, outputs: Sequence[npt.NDArray[Any]]) -> Arrays:
        named = dict(zip(self._names, outputs, strict=True))
        for name in self._text_outputs:
            named[name] = _mapped(named[name], lambda text: text.encode())
        return named

    def _decoded(self, item: Arrays) -> Arrays:
        """Return an item with its BYTES as the texts that onnxruntime wants; raises InvalidArgument."""
        try:
            texts = {name: _mapped(item[name], lambda data: data.decode()) for name in self._texts}
        except (UnicodeDecodeError, AttributeError) as error:
            raise InvalidArgument(
                "tensors of BYTES must hold UTF-8 for this model", reason="INVALID_ARGUMENT"
            ) from error
        return {**item, **texts}


def _batch(graph: OnnxGraph, wanted: int | None) -> int:
    """Return the largest batch, 0 when tensors have no batch dimension; raises WeightsError for what cannot be."""
    if wanted == 0:
        return 0
    first = {tensor.shape[0] if tensor.shape else -1 for tensor in (*graph.inputs, *graph.outputs)}
    if first == {None}:
        return wanted or _MAX_BATCH
    if wanted is None:
        return 0
    if first - {None, wanted}:
        raise WeightsError(
            f"the manifest says max_batch {wanted}, and the graph's first dimensions are "
            f"{sorted(length for length in first if length is not None)}"
        )
    return wanted


def _signature(graph: OnnxGraph, *, batched: bool) -> ArraySignature:
    if not graph.inputs or not graph.outputs:
        raise WeightsError("a graph without inputs or outputs is no model")
    inputs, outputs = ([_spec(tensor, batched=batched) for tensor in part] for part in (graph.inputs, graph.outputs))
    return ArraySignature(inputs, outputs, batched=batched)


def _spec(tensor: GraphTensor, *, batched: bool) -> TensorSpec:
    if tensor.element not in _DATATYPES or tensor.shape is None:
        raise WeightsError(
            f"{tensor.name!r} is no tensor of a known rank and of elements that clients can send (ONNX type "
            f"{tensor.element})"
        )
    shape = tuple(-1 if length is None else length for length in tensor.shape)
    return TensorSpec(tensor.name, _DATATYPES[tensor.element], shape[1:] if batched else shape)


def _mapped(array: npt.NDArray[Any], convert: Any) -> npt.NDArray[Any]:
    """Return an array of objects with each element converted."""
    converted = np.empty(array.shape, dtype=object)
    converted.ravel()[...] = [convert(one) for one in array.ravel()]
    return converted
