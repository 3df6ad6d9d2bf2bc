"""Models whose items are tensors: an item is its arrays by name, as generic clients send them and get them back."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_server.models.model import Arrays, TensorSpec
from services.kit.errors import InvalidArgument

# NumPy's name of each datatype. BYTES are objects of type bytes; BF16, which NumPy does not know, is its bits.
_DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8",
    "INT8": "i1", "INT16": "i2", "INT32": "i4", "INT64": "i8",
    "FP16": "f2", "BF16": "u2", "FP32": "f4", "FP64": "f8", "BYTES": "O",
}  # fmt: skip
_SAMPLES = 3  # of each shape: enough to see whether neighbours in a batch change a result


class ArraySignature:
    """The tensors of a model that computes on arrays. Items are checked against it; nothing is copied."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, batched: bool) -> None:
        """KeyError for a datatype that is not one of the protocol's."""
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.batched = batched
        self._expected = {spec.name: (np.dtype(_DTYPES[spec.datatype]), spec.shape) for spec in inputs}
        self._open = tuple(spec.name for spec in inputs if -1 in spec.shape)

    def item(self, arrays: Arrays) -> Arrays:
        """Return the arrays if they are what the model takes; raises InvalidArgument."""
        if arrays.keys() != self._expected.keys():
            raise InvalidArgument(
                f"the model takes {', '.join(self._expected)}, and not {', '.join(arrays) or 'nothing'}",
                metadata={"expected": ", ".join(self._expected)},
            )
        for name, (dtype, shape) in self._expected.items():
            array = arrays[name]
            if array.dtype != dtype:
                raise _wrong(name, f"elements of {dtype}", str(array.dtype))
            # Equal shapes are the rule and cost one comparison; only open ones are looked at side by side.
            if array.shape != shape and not _fits(array.shape, shape):
                raise _wrong(name, f"the shape {shape}", str(array.shape))
        return arrays

    def arrays(self, output: Arrays) -> Arrays:
        return output

    def bucket(self, item: Arrays) -> Hashable:
        """Return the shapes of the inputs whose shapes are open: items of equal ones fit one tensor."""
        return tuple([item[name].shape for name in self._open])

    def samples(self, shapes: Sequence[Mapping[str, Sequence[int]]] = ()) -> list[Arrays]:
        """Return items of the given shapes of the open inputs, none where shapes are open and none is given."""
        if self._open and not shapes:
            return []
        random = np.random.default_rng(0)
        return [self._sample(shape, random) for shape in shapes or ({},) for _ in range(_SAMPLES)]

    def check_samples(self, shapes: Sequence[Mapping[str, Sequence[int]]]) -> None:
        """Raise InvalidArgument unless the shapes name every open input and fit."""
        for shape in shapes:
            for name in shape.keys() - self._expected.keys():
                raise InvalidArgument(f"samples name {name!r}, which is no input")
            for name, (_, expected) in self._expected.items():
                if name in self._open and name not in shape:
                    raise InvalidArgument(f"samples give no shape for {name}")
                if not _fits(tuple(shape.get(name, expected)), expected):
                    raise InvalidArgument(f"samples give {name} a shape that does not fit {expected}")

    def _sample(self, shapes: Mapping[str, Sequence[int]], random: np.random.Generator) -> Arrays:
        return {
            name: _values(dtype, shapes.get(name, shape), random) for name, (dtype, shape) in self._expected.items()
        }


def _values(dtype: np.dtype[Any], shape: Sequence[int], random: np.random.Generator) -> npt.NDArray[Any]:
    """Return numbers that most models take: floats around zero, and integers that are also indices of small tables."""
    if dtype.kind == "O":
        texts = np.empty(tuple(shape), dtype=object)
        texts[...] = b"sample"
        return texts
    if dtype.kind == "f":
        return random.standard_normal(tuple(shape), dtype=np.float32).astype(dtype)
    return random.integers(0, 2, tuple(shape)).astype(dtype)


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(
        wanted in (-1, length) for length, wanted in zip(shape, expected, strict=True)
    )


def _wrong(name: str, expected: str, got: str) -> InvalidArgument:
    return InvalidArgument(
        f"the tensor {name} must have {expected}, not {got}",
        metadata={"tensor": name, "expected": expected, "got": got},
    )
