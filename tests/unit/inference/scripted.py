"""A model whose every batch the test decides about: it keeps the contract of Model and computes on paper."""

import threading
from collections.abc import Sequence
from dataclasses import replace

from inference_server.models.model import ModelCard, run_prepared
from services.kit.errors import CandelaError, InvalidArgument


class Scripted:
    """Doubles numbers. Negative ones are bad items, 13 is a defect of the model; odd and even have different shapes.

    With `held`, each batch waits for `release`, so that a test decides what waits and what runs.
    """

    signature = None

    def __init__(
        self, *, name: str = "scripted", version: str = "1", max_batch: int = 4, instances: int = 1, held: bool = False
    ) -> None:
        self.card = ModelCard(name, version, max_batch, instances)
        self.loaded = self.warm = self.closed = False
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.begun = threading.Semaphore(0)
        self._go = threading.Semaphore(0)
        self._held = held

    def named(self, name: str) -> None:
        """Take another name, before anything else."""
        self.card = replace(self.card, name=name)

    def load(self) -> None:
        self.loaded = True

    def samples(self) -> Sequence[int]:
        return ()

    def warm_up(self) -> None:
        assert self.loaded
        self.warm = True

    def bucket(self, item: int) -> int:
        if item == 99:
            raise InvalidArgument("99 has no shape")
        if item == 98:
            raise ZeroDivisionError("98 confuses the model")
        return item % 2

    def run(self, batch: Sequence[int]) -> list[int | CandelaError]:
        assert self.warm
        assert not self.closed
        self.batches.append(list(batch))
        self.threads.add(threading.get_ident())
        self.begun.release()
        if self._held:
            assert self._go.acquire(timeout=10.0), "the test never released this batch"
        if 13 in batch:
            raise ValueError("thirteen")
        return run_prepared(batch, _positive, lambda good: [2 * item for item in good])

    def close(self) -> None:
        self.closed = True

    def release(self, batches: int = 1) -> None:
        """Let so many batches finish."""
        for _ in range(batches):
            self._go.release()

    def has_begun(self) -> bool:
        """Whether a batch began that was not asked about before."""
        return self.begun.acquire(blocking=False)


def _positive(item: int) -> int:
    if item < 0:
        raise InvalidArgument(f"{item} is negative")
    return item
