"""What batches of one model cost, learned while it runs: per shape bucket and batch size."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from inference_server.batching.curves import Curve

_MARGIN = 0.003
_EXPLORE = 0.01
_SPREADS = 3.0
_MOST_BUCKETS = 512


@dataclass(frozen=True, slots=True)
class BucketCosts:
    """What is known of one bucket: the best size, mean seconds and samples by size, and the usual relative spread."""

    best: int
    seconds: Mapping[int, float]
    samples: Mapping[int, int]
    spread: float


class CostModel:
    """How long batches take, by shape bucket and size; `max_batch` is the largest size there is.

    A size that was not measured is interpolated; a bucket that was not measured costs what the model's batches cost on
    the whole, and one of which little is known borrows the shape of that curve. Single outliers change nothing, several
    in a row everything. Measured times of `max_batch` or less come from warm-up and from work; while work piles up,
    other sizes than the best are tried at the cost of at most `explore` of the time.
    """

    def __init__(self, max_batch: int, *, margin: float = _MARGIN, explore: float = _EXPLORE) -> None:
        """Keep at least `margin` seconds between an expected end and a deadline; 0.0 for exact simulations."""
        self.max_batch = max_batch
        self._margin = margin
        self._explore = explore
        self._common = Curve(max_batch, None, 0.0)
        self._curves: dict[Hashable, Curve] = {}
        self.version = 0  # changes whenever an expectation does

    def observe(self, bucket: Hashable, size: int, seconds: float) -> None:
        """Learn that a batch of `size` items of `bucket` took `seconds` on one instance."""
        if not 1 <= size <= self.max_batch:
            raise ValueError(f"a batch holds 1 to {self.max_batch} items, not {size}")
        common = self._common
        common.observe(size, seconds)
        curve = self._curves.pop(bucket, None)
        before = -1 if curve is None else curve.version
        if curve is None:
            if len(self._curves) >= _MOST_BUCKETS:
                del self._curves[next(iter(self._curves))]  # the one that was used least recently
            curve = Curve(self.max_batch, common, self._explore)
        self._curves[bucket] = curve
        curve.observe(size, seconds)
        if curve.version != before:
            self.version += 1

    def seconds(self, bucket: Hashable, size: int) -> float:
        """Return how many seconds a batch of `size` is expected to take; 0.0 when nothing is known yet."""
        return self.curve(bucket).table[size]

    def best(self, bucket: Hashable) -> int:
        """Return the batch size that gives the most items a second; the largest while that one was not measured."""
        return self.curve(bucket).best

    def curve(self, bucket: Hashable) -> Curve:
        """Return what is known of a bucket: of a new one, what the model's batches cost on the whole."""
        return self._curves.get(bucket, self._common)

    def margin(self, curve: Curve, seconds: float) -> float:
        """Return how many seconds before a deadline a batch that takes `seconds` must be expected to end."""
        return self._margin + _SPREADS * curve.spread * seconds

    def snapshot(self) -> dict[Hashable, BucketCosts]:
        """Return what is known, by bucket."""
        return {
            bucket: BucketCosts(
                curve.best,
                {size: curve.points[size].mean for size in sorted(curve.points)},
                {size: curve.points[size].count for size in sorted(curve.points)},
                curve.spread,
            )
            for bucket, curve in self._curves.items()
        }
