"""Small models with tensors for tests of generic clients; `python -m tests.support.tensor_models` serves them."""

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_server.models.device import Runtime
from inference_server.models.model import ModelCard, TensorSpec, run_prepared
from inference_server.models.source import Given, Listing
from services.kit.errors import CandelaError, InvalidArgument

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Tensors:
    """A signature whose items are the arrays themselves."""

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    batched: bool

    def item(self, arrays: Arrays) -> Arrays:
        return dict(arrays)

    def arrays(self, output: Arrays) -> Arrays:
        return output


class TensorModel:
    """Runs a function over each item; what it raises as a CandelaError fails that item alone."""

    def __init__(
        self, name: str, signature: Tensors | None, run: Callable[[Arrays], Arrays], *, version: str = "1"
    ) -> None:
        self.card = ModelCard(name, version, max_batch=8, instances=1)
        self.signature = signature
        self._run = run
        self.batches: list[int] = []

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self) -> None:
        """Nothing to warm."""

    def close(self) -> None:
        """Nothing to give back."""

    def samples(self) -> Sequence[Arrays]:
        return ()

    def bucket(self, item: Arrays) -> Hashable:
        return tuple((name, array.shape) for name, array in item.items())

    def run(self, batch: Sequence[Arrays]) -> list[Arrays | CandelaError]:
        self.batches.append(len(batch))
        return run_prepared(batch, self._run, list)


def _double(item: Arrays) -> Arrays:
    values = item["X"]
    if (values < 0).any():
        raise InvalidArgument("X must not be negative", metadata={"input": "X"})
    return {"Y": values * np.float32(2), "SUM": np.array(values.sum(), np.float32)}


def double(version: str = "1", factor: float = 2.0) -> TensorModel:
    """FP32 [4], batched: Y is twice X, SUM adds X up; negative numbers are bad items. Other versions, other factors."""

    def run(item: Arrays) -> Arrays:
        return {**_double(item), "Y": item["X"] * np.float32(factor)}

    signature = Tensors(
        (TensorSpec("X", "FP32", (4,)),), (TensorSpec("Y", "FP32", (4,)), TensorSpec("SUM", "FP32", ())), batched=True
    )
    return TensorModel("double", signature, run, version=version)


def echo(datatype: str) -> TensorModel:
    """X of a datatype, any length, comes back as Y."""
    signature = Tensors((TensorSpec("X", datatype, (-1,)),), (TensorSpec("Y", datatype, (-1,)),), batched=False)
    return TensorModel(f"echo-{datatype.lower()}", signature, lambda item: {"Y": item["X"]})


def pair() -> TensorModel:
    """INT32 [-1,2] A and B, batched: TOTAL is A + B."""
    specs = [TensorSpec(name, "INT32", (-1, 2)) for name in ("A", "B", "TOTAL")]
    return TensorModel(
        "pair", Tensors(specs[:2], specs[2:], batched=True), lambda item: {"TOTAL": item["A"] + item["B"]}
    )


def ragged() -> TensorModel:
    """INT32 [1] N, batched: Y counts to N, so items of one batch may differ in shape."""
    signature = Tensors((TensorSpec("N", "INT32", (1,)),), (TensorSpec("Y", "INT32", (-1,)),), batched=True)
    return TensorModel("ragged", signature, lambda item: {"Y": np.arange(item["N"][0], dtype=np.int32)})


def wrong() -> TensorModel:
    """Promises FP32 and gives FP64."""
    signature = Tensors((TensorSpec("X", "FP32", (1,)),), (TensorSpec("Y", "FP32", (1,)),), batched=True)
    return TensorModel("wrong", signature, lambda item: {"Y": item["X"].astype(np.float64)})


def sleeper(name: str = "sleeper") -> TensorModel:
    """FP32 [1] SECONDS, batched: sleeps so long. Other names, other costs that the scheduler learns."""
    specs = [TensorSpec(tensor, "FP32", (1,)) for tensor in ("SECONDS", "SLEPT")]

    def run(item: Arrays) -> Arrays:
        time.sleep(float(item["SECONDS"][0]))  # what the model does, and no waiting of the test
        return {"SLEPT": item["SECONDS"]}

    return TensorModel(name, Tensors(specs[:1], specs[1:], batched=True), run)


class Held(TensorModel):
    """FP32 [1] X comes back as Y, once the test opens the gate; `begun` is set when a batch waits there.

    `order` has the items as they were computed.
    """

    def __init__(self) -> None:
        specs = [TensorSpec(name, "FP32", (1,)) for name in ("X", "Y")]
        super().__init__("held", Tensors(specs[:1], specs[1:], batched=True), self._pass)
        self.begun, self.gate = threading.Event(), threading.Event()
        self.order: list[float] = []

    def _pass(self, item: Arrays) -> Arrays:
        self.begun.set()
        assert self.gate.wait(10.0), "the test never opened the gate"
        self.order.append(float(item["X"][0]))
        return {"Y": item["X"]}


def wordless() -> TensorModel:
    """A model that generic clients cannot use."""
    return TensorModel("wordless", None, dict)


DATATYPES = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BYTES", "BF16"),
)


def all_models() -> Given:
    """Return a source of all of them; `double` in two versions."""
    makers: list[Callable[[], TensorModel]] = [partial(echo, one) for one in DATATYPES]
    makers += [pair, ragged, wrong, sleeper, partial(sleeper, "idler"), wordless, double, partial(double, "2", 3.0)]
    return Given({_listing(make): _factory(make) for make in makers})


def _listing(make: Callable[[], TensorModel]) -> Listing:
    card = make().card
    return Listing(card.name, card.version)


def _factory(make: Callable[[], TensorModel]) -> Callable[[Runtime], TensorModel]:
    return lambda runtime: make()


def main() -> None:
    """Serve all of them as the inference server."""
    from inference_server.main import compose_with  # noqa: PLC0415 - only the program needs all of it
    from inference_server.settings import InferenceSettings  # noqa: PLC0415 - as above
    from services.kit.bootstrap import run  # noqa: PLC0415 - as above

    run(InferenceSettings, partial(compose_with, [all_models()]))


if __name__ == "__main__":
    main()
