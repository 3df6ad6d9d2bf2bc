"""What the models of the workloads do, the same code in every server: sleep, nothing, or a small conv net.

The servers that ours is compared with run this file in their own environments: it needs the standard library, and
numpy and torch for the net only.
"""

import mmap
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

Run = Callable[[Sequence[bytes]], list[bytes]]
_ANSWER_BYTES = 16
_NET_SHAPE = (3, 96, 96)
_CHANNELS = (3, 32, 32, 128, 128)
_CLASSES = 10
_COUNT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Workload:
    """One model under load: how long a batch of up to `max_batch` sleeps, and how many bytes an item has.

    `seconds` is None for the net, which takes what it takes.
    """

    name: str
    seconds: float | None
    max_batch: int
    item_bytes: int

    @property
    def capacity(self) -> float:
        """Items a second of an ideal server; 0 where sleeping does not bound it."""
        return self.max_batch / self.seconds if self.seconds else 0.0


WORKLOADS = {
    one.name: one
    for one in (
        Workload("sleep5", 0.005, 32, 1024),
        Workload("conv", None, 32, 3 * 96 * 96 * 4),
        Workload("noop", 0.0, 32, 1024),
        Workload("noop-large", 0.0, 32, 3 * 96 * 96 * 4),
        Workload("sleep80", 0.080, 8, 1024),
        Workload("sleep2000", 2.0, 1, 1024),
    )
}


def tensor(workload: Workload) -> tuple[str, tuple[int, ...]]:
    """Return an item's datatype and shape in the words of the Open Inference Protocol."""
    return ("FP32", _NET_SHAPE) if workload.seconds is None else ("UINT8", (workload.item_bytes,))


class Counter:
    """Counts what a model executed in a file that others read while it runs; one model, one thread at a time."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"{os.getpid()}-{time.monotonic_ns()}.count"
        path.write_bytes(bytes(_COUNT_BYTES))
        with path.open("r+b") as file:
            self._count = memoryview(mmap.mmap(file.fileno(), _COUNT_BYTES)).cast("Q")

    def add(self, items: int) -> None:
        """Note that so many more items were executed."""
        self._count[0] += items


def executed(folder: Path) -> int:
    """Return how many items all models together have executed."""
    return sum(int.from_bytes(path.read_bytes(), "little") for path in folder.glob("*.count"))


def counted(run: Run, folder: Path) -> Run:
    """Return `run` with every batch noted in `folder` after it ran."""
    counter = Counter(folder)

    def run_and_count(batch: Sequence[bytes]) -> list[bytes]:
        answers = run(batch)
        counter.add(len(batch))
        return answers

    return run_and_count


def make_run(workload: Workload) -> Run:
    """Return what the workload's model does to a batch; an answer is made of its item, so that mixing them up shows."""
    if workload.seconds is None:
        return net_run()
    return sleeper(workload.seconds)


def sleeper(seconds: float) -> Run:
    """Return a model that sleeps once a batch, whatever its size, and answers with the beginning of each item."""

    def run(batch: Sequence[bytes]) -> list[bytes]:
        if seconds:
            time.sleep(seconds)
        return [bytes(item[:_ANSWER_BYTES]) for item in batch]

    return run


def net_run() -> Run:
    """Return the net: 3×96×96 float32 in, 10 float32 out, on one thread of torch.

    With two on two cores each layer ends in a wait of one for the other, which client and server keep from its core;
    the net then does anything between a twentieth and three times of what it does on one.
    """
    import numpy as np  # noqa: PLC0415 - only this workload needs it
    import torch  # noqa: PLC0415 - only this workload needs it

    torch.set_num_threads(1)
    torch.manual_seed(20)
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(_CHANNELS):
        layers += [torch.nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), torch.nn.ReLU()]
    net = torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(_CHANNELS[-1], _CLASSES)
    )
    net.eval()

    def run(batch: Sequence[bytes]) -> list[bytes]:
        arrays = np.empty((len(batch), *_NET_SHAPE), np.float32)
        for row, item in zip(arrays, batch, strict=True):
            row[:] = np.frombuffer(item, np.float32).reshape(_NET_SHAPE)
        with torch.inference_mode():
            scores = net(torch.from_numpy(arrays)).numpy()
        return [row.tobytes() for row in scores]

    return run
