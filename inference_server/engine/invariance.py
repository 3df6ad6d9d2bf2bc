"""Measures whether an item's result depends on what else is in its batch."""

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from inference_server.models.model import Arrays, Model
from services.kit.errors import CandelaError

_LOG = logging.getLogger(__name__)
_SECONDS = 2.0
# Beyond this relative difference it is no rounding any more, whatever the numbers mean.
_MOST_ROUNDING = 1e-2
_SIZES = (2, 3, 8, 16, 32, 64, 128, 256)


class Kind(StrEnum):
    """How results alone and in company compare."""

    EXACT = "EXACT"  # bit by bit the same
    TOLERANCE = "TOLERANCE"  # the same up to rounding
    NOT_INVARIANT = "NOT_INVARIANT"  # other labels, other text, other shapes, or far more than rounding


@dataclass(frozen=True, slots=True)
class Invariance:
    """What was measured: the largest differences among numbers, absolute and relative to the largest number of an
    output, over so many comparisons in batches of so many items at most. Nothing to compare is `comparisons` 0.
    """

    kind: Kind
    absolute: float = 0.0
    relative: float = 0.0
    comparisons: int = 0
    largest_batch: int = 1

    def with_(self, other: "Invariance") -> "Invariance":
        """Return the worse of two measurements in every respect."""
        order = list(Kind)
        return Invariance(
            max(self.kind, other.kind, key=order.index),
            max(self.absolute, other.absolute),
            max(self.relative, other.relative),
            self.comparisons + other.comparisons,
            max(self.largest_batch, other.largest_batch),
        )


def compare(
    run: Callable[[Sequence[Any]], Sequence[Any]], model: Model[Any, Any], max_batch: int, seconds: float = _SECONDS
) -> Invariance:
    """Run every sample alone and in mixed batches of several sizes, at several places, and compare the outputs.

    Begins no batch after `seconds`. Blocks meanwhile. Raises what the model raises.
    """
    until = time.monotonic() + seconds
    found = Invariance(Kind.EXACT)
    for samples in _by_shape(model):
        alone = [run([sample])[0] for sample in samples]
        for size in (*(size for size in _SIZES if size < max_batch), max_batch):
            for turn in range(min(len(samples), 2)):
                if time.monotonic() >= until:
                    return found
                found = found.with_(_together(run, model, samples, alone, size, turn))
    return found


def _together(
    run: Callable[[Sequence[Any]], Sequence[Any]],
    model: Model[Any, Any],
    samples: Sequence[Any],
    alone: Sequence[Any],
    size: int,
    turn: int,
) -> Invariance:
    """Compare one batch in which the samples take turns, the first one at another place each time."""
    order = [(place + turn) % len(samples) for place in range(size)]
    found = Invariance(Kind.EXACT)
    for index, result in zip(order, run([samples[index] for index in order]), strict=True):
        one = _difference(model, alone[index], result)
        found = found.with_(Invariance(one.kind, one.absolute, one.relative, 1, size))
    return found


def _by_shape(model: Model[Any, Any]) -> list[list[Any]]:
    shapes: dict[Hashable, list[Any]] = {}
    for sample in model.samples():
        shapes.setdefault(model.bucket(sample), []).append(sample)
    return list(shapes.values())


def _difference(model: Model[Any, Any], alone: Any, together: Any) -> Invariance:
    if isinstance(alone, CandelaError) or isinstance(together, CandelaError):
        same = type(alone) is type(together)
        return Invariance(Kind.EXACT if same else Kind.NOT_INVARIANT)
    if model.signature is None:
        return Invariance(Kind.EXACT if bool(alone == together) else Kind.NOT_INVARIANT)
    return _difference_of_arrays(model.signature.arrays(alone), model.signature.arrays(together))


def _difference_of_arrays(alone: Arrays, together: Arrays) -> Invariance:
    if alone.keys() != together.keys():
        return Invariance(Kind.NOT_INVARIANT)
    found = Invariance(Kind.EXACT)
    for name, expected in alone.items():
        found = found.with_(_difference_of_array(expected, together[name]))
    return found


def _difference_of_array(expected: Any, got: Any) -> Invariance:
    import numpy as np  # noqa: PLC0415 - a server without models stays small

    if expected.shape != got.shape or expected.dtype != got.dtype:
        return Invariance(Kind.NOT_INVARIANT)
    if expected.dtype.kind not in "fc":
        return Invariance(Kind.EXACT if np.array_equal(expected, got) else Kind.NOT_INVARIANT)
    if np.array_equal(expected, got, equal_nan=True):
        return Invariance(Kind.EXACT)
    absolute = float(np.max(np.abs(expected.astype(np.float64) - got.astype(np.float64)), initial=0.0))
    scale = float(np.max(np.abs(expected.astype(np.float64)), initial=0.0))
    relative = absolute / scale if scale else float("inf")
    kind = Kind.TOLERANCE if relative <= _MOST_ROUNDING else Kind.NOT_INVARIANT
    return Invariance(kind, absolute, relative)
