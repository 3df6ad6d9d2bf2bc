"""Times a model before it takes work, so that the scheduler's first decisions are no guesses."""

import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from inference_server.batching import CostModel
from inference_server.models.model import Model
from services.kit.errors import CandelaError

Timed = tuple[Hashable, int, float]
# Enough of them for the smallest shape to tell the model's own time from an interruption.
_REPEATS = 3


def time_batches(
    run: Callable[[Sequence[Any]], Sequence[Any]],
    model: Model[Any, Any],
    max_batch: int,
    seconds: float,
    costs: CostModel,
) -> list[Timed]:
    """Run batches of the model's samples for about `seconds` and tell `costs` how long each took; returns the same.

    Goes from single items to the largest batch, shape by shape, and begins no run that would take longer than what is
    left, going by the last one. With 0 seconds nothing is run.
    """
    timed: list[Timed] = []
    left = seconds
    shapes = _by_shape(model) if seconds > 0 else {}
    for size in _sizes(max_batch):
        for bucket, samples in shapes.items():
            expected = max(
                (took * size / smaller for shape, smaller, took in timed[-1:] if shape == bucket), default=0.0
            )
            for _ in range(_REPEATS):
                if expected >= left:
                    break
                took = _timed(run, [samples[index % len(samples)] for index in range(size)])
                left -= took
                if took:
                    costs.observe(bucket, size, took)
                    timed.append((bucket, size, took))
                    expected = took
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


def _timed(run: Callable[[Sequence[Any]], Sequence[Any]], batch: Sequence[Any]) -> float:
    """Return how long a batch took, 0 when it says nothing because items of it failed."""
    began = time.perf_counter()
    results = run(batch)
    took = time.perf_counter() - began
    return 0.0 if any(isinstance(result, CandelaError) for result in results) else took
