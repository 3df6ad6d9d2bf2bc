"""Times a model before it takes work, so that the scheduler's first decisions are no guesses."""

import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from inference_server.batching import CostModel
from inference_server.models.model import Model
from services.kit.errors import CandelaError

Run = Callable[[Sequence[Any]], Sequence[Any]]
Timed = tuple[Hashable, int, float]
# Enough of them for the smallest to tell the model's own time from an interruption.
_REPEATS = 3


def time_batches(
    run: Run,
    model: Model[Any, Any],
    max_batch: int,
    seconds: float,
    costs: CostModel,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timed]:
    """Run batches of the model's samples for about `seconds` and tell `costs` how long each took; returns the same.

    Goes from single items to the largest batch, each with every shape, and begins no run that would take longer than
    what is left, going by the last one of its shape. With 0 seconds nothing is run.
    """
    timed: list[Timed] = []
    shapes = _by_shape(model) if seconds > 0 else {}
    expected = dict.fromkeys(shapes, 0.0)  # seconds an item, by shape
    left = seconds
    for size in _sizes(max_batch):
        for bucket, samples in shapes.items():
            batch = [samples[index % len(samples)] for index in range(size)]
            for _ in range(_REPEATS):
                if left <= 0 or expected[bucket] * size > left:
                    break
                took, failed = _timed(run, batch, clock)
                left -= took
                expected[bucket] = took / size
                if not failed:
                    costs.observe(bucket, size, took)
                    timed.append((bucket, size, took))
    return timed


def _sizes(max_batch: int) -> list[int]:
    """Return 1, 4, 16 … and the largest batch."""
    sizes = [1]
    while sizes[-1] * 4 < max_batch:
        sizes.append(sizes[-1] * 4)
    return sizes if max_batch == 1 else [*sizes, max_batch]


def _by_shape(model: Model[Any, Any]) -> dict[Hashable, list[Any]]:
    shapes: dict[Hashable, list[Any]] = {}
    for sample in model.samples():
        shapes.setdefault(model.bucket(sample), []).append(sample)
    return shapes


def _timed(run: Run, batch: Sequence[Any], clock: Callable[[], float]) -> tuple[float, bool]:
    """Return how long a batch took, and whether it says nothing because items of it failed."""
    began = clock()
    results = run(batch)
    return clock() - began, any(isinstance(result, CandelaError) for result in results)
