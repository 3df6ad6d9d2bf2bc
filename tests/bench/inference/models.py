"""The models of the workloads as our server wants them."""

import os
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference_server.models.model import Arrays, ModelCard, TensorSpec
from inference_server.models.source import Given, Listing
from tests.bench.inference.works import Run, Workload, counted, make_run, tensor

Input = npt.NDArray[np.generic]


class BenchSignature:
    """One tensor in, one out, each item apart."""

    batched = True

    def __init__(self, workload: Workload, *, any_length: bool = False) -> None:
        datatype, shape = tensor(workload)
        self.inputs = (TensorSpec("INPUT", datatype, (-1,) if any_length else shape),)
        self.outputs = (TensorSpec("OUTPUT", "UINT8", (-1,)),)

    def item(self, arrays: Arrays) -> Input:
        """Take the one tensor as it is."""
        return arrays["INPUT"]

    def arrays(self, output: bytes) -> Arrays:
        """Return the answer's bytes."""
        return {"OUTPUT": np.frombuffer(output, np.uint8)}


class BenchModel:
    """One workload's model. Items of other lengths are other shapes: they never share a batch."""

    def __init__(self, workload: Workload, counts: Path, *, any_length: bool = False) -> None:
        self._workload = workload
        self._counts = counts
        self.card = ModelCard(workload.name, "1", workload.max_batch, instances=1)
        self.signature = BenchSignature(workload, any_length=any_length)
        self._run: Run | None = None

    def load(self) -> None:
        """Make the model, and a count of its own."""
        self._run = counted(make_run(self._workload), self._counts)

    def samples(self) -> Sequence[Input]:
        """Return one item of the workload's length."""
        datatype, shape = tensor(self._workload)
        return [np.full(shape, 0.25, np.float32) if datatype == "FP32" else np.zeros(shape, np.uint8)]

    def warm_up(self) -> None:
        """Run one item."""
        self.run(self.samples())

    def bucket(self, item: Input) -> Hashable:
        """Return the item's length."""
        return item.nbytes

    def run(self, batch: Sequence[Input]) -> list[bytes]:
        """Do what the model does in every server: an array is as good as its bytes there."""
        if self._run is None:
            raise RuntimeError("the model is not loaded")
        return self._run(batch)  # type: ignore[arg-type] # arrays have the buffer and the slices that are used of bytes

    def close(self) -> None:
        """Let go of the model."""
        self._run = None


def source(workloads: Sequence[Workload], *, any_length: bool = False) -> Given:
    """Return the models of some workloads; where they count is told by the environment, as peers are."""
    counts = Path(os.environ["CANDELA_BENCH_COUNTS"])
    return Given(
        {
            Listing(one.name, "1"): lambda _, one=one: BenchModel(one, counts, any_length=any_length)  # type: ignore[misc] # mypy sees no type of a default
            for one in workloads
        }
    )
