"""What batches of one shape cost by their size, learned from measurements that may be few, noisy, or of yesterday."""

from itertools import pairwise
from math import inf

_NEWEST_WEIGHT = 0.1  # of a sample in the mean of its size, once there are some
_FIRM = 3  # so many samples make a mean that single strange ones cannot move
_STRANGE = 0.25  # a sample so far off the mean (of it), and off what is usual, is strange
_SHIFT = 3  # so many strange samples in a row are a change
_UNUSUAL = 4.0  # how many times the usual deviation is not usual
_CLEARLY = 0.9  # a split is worth it when it takes so much of the whole's time
_REBUILD = 0.01  # a mean that moved by less leaves the table as it is
_PREFER = 1.02  # another size must be so much better to replace the best one: noise must not
_PROMISING = 0.75  # a size with so much of the best rate is measured again now and then
_EVERY, _LEARN_EVERY = 16, 4  # batches between two that explore, and while sizes are hardly known
_LEARNING = 5.0  # times as much may be spent as long as they are
_HARDLY = 2  # so few samples tell little
_SURELY = 0.97  # what noise leaves of a mean
_STALE = 4096  # batches after which a size without promise is measured again
_STEPS = 16  # sizes that are tried are multiples of this part of the largest


class Point:
    """The measurements of one size: mean, count, when last seen, and the strange ones since the last that was not."""

    __slots__ = ("count", "mean", "odd", "odd_since", "odds", "seen")

    def __init__(self, seconds: float, seen: int) -> None:
        self.mean = seconds
        self.count = 1
        self.seen = seen
        self.odd = 0.0
        self.odds = 0
        self.odd_since = 0


class Curve:
    """Seconds by batch size for one shape.

    `table[n]` is what a batch of n is expected to take, measured or interpolated (all zeros when nothing is known),
    `best` the size with the most items a second, `first[n]` how many of n waiting items the next batch should hold, and
    `spread` the usual deviation of a batch relative to its mean. `version` changes whenever `table` does.
    """

    __slots__ = (
        "_busy", "_common", "_grid", "_last_try", "_lost", "_part", "_serial", "best", "confirmed", "curious", "first",
        "largest", "points", "spread", "table", "trying", "version",
    )  # fmt: skip

    def __init__(self, largest: int, common: "Curve | None", part: float) -> None:
        """Sizes go up to `largest`; `common` lends its shape; exploring may cost `part` of the time, 0.0 for never."""
        self.largest = largest
        self._common = common
        self._part = part
        self.points: dict[int, Point] = {}
        self.spread = 0.0
        self.curious = part > 0.0  # whether some sizes are hardly known
        self.version = 0
        self.confirmed = -inf  # when a batch last took some time, by the queue's clock
        self.trying = 0  # the size that is being explored
        self._serial = 0
        self._busy = 0.0
        self._lost = 0.0
        self._last_try = 0
        step = max(largest // _STEPS, 1)
        self._grid = sorted({*range(step, largest + 1, step), largest})
        self._rebuild()

    @property
    def known(self) -> bool:
        return bool(self.points)

    def observe(self, size: int, seconds: float) -> None:
        """Learn that a batch of `size` took `seconds`."""
        self._serial += 1
        self._busy += seconds
        if size == self.trying:
            self._lost += max(seconds - size * self.table[self.best] / self.best, 0.0)
            self.trying = 0
        point = self.points.get(size)
        if point is None:
            self.points[size] = Point(seconds, self._serial)
            self._rebuild()
            self._wonder_about_sizes()
            return
        self._learn(point, seconds)
        if point.count <= _HARDLY:
            self._wonder_about_sizes()
        point.seen = self._serial
        known = self.table[size]
        if abs(point.mean - known) > _REBUILD * known:
            self._rebuild()

    def explore(self, waiting: int) -> int:
        """Return a size to measure instead of the best one, at most `waiting`; 0 when it is not time to.

        First come sizes that are hardly known, those that seem to cost least first; then whatever was measured longest
        ago. Who is next is waited for until it can be afforded.
        """
        since = self._serial - self._last_try
        if self._part <= 0.0 or since < _LEARN_EVERY or not self.points:
            return 0
        self._last_try = self._serial - _LEARN_EVERY + 1  # looking is not free either
        pace = self.table[self.best] / self.best
        allowed = self._part * self._busy - self._lost
        choice, rank, loss = 0, (2, inf), 0.0
        least = self._least()
        for size in self._grid:
            if size == self.best or size > waiting:
                continue
            extra = self.table[size] - size * pace
            point = self.points.get(size)
            stale = point is not None and self._serial - point.seen >= _STALE
            if size * pace < _SURELY * least[size] and not stale:
                continue
            if point is None or point.count < _HARDLY:
                place = (0, extra)
            elif since >= _EVERY and self._wanted(point, size, pace):
                place = (1, float(point.seen))
            else:
                continue
            if place < rank:
                choice, rank, loss = size, place, extra
        if rank[0] == 0:
            allowed += (_LEARNING - 1.0) * self._part * self._busy
        if not choice or loss > allowed:
            return 0
        self._last_try = self._serial
        self.trying = choice
        return choice

    def _wonder_about_sizes(self) -> None:
        """Note whether a size is hardly known that could be better than the best one."""
        points = self.points
        pace = self.table[self.best] / self.best
        least = self._least()
        self.curious = self._part > 0.0 and any(
            (size not in points or points[size].count < _HARDLY) and size * pace >= _SURELY * least[size]
            for size in self._grid
        )

    def _least(self) -> list[float]:
        """Return for every size what it takes at the least: no less than any smaller size that was measured.

        A size that cannot be better than the best one even so is not tried: a model whose batches cost the same
        whatever they hold would only be disturbed, and who waits behind a small batch waits for one more.
        """
        least, most = [0.0], 0.0
        for size in range(1, self.largest + 1):
            least.append(most)
            point = self.points.get(size)
            if point is not None and point.mean > most:
                most = point.mean
        return least

    def _wanted(self, point: Point, size: int, pace: float) -> bool:
        return size * pace >= _PROMISING * point.mean or self._serial - point.seen >= _STALE

    def _learn(self, point: Point, seconds: float) -> None:
        mean = point.mean
        off = abs(seconds - mean)
        if point.count < _FIRM:
            # The first time is often the slowest (caches, lazy initialisation): what comes much faster replaces it.
            point.count += 1
            point.mean = seconds if seconds < mean / 2 else mean + (seconds - mean) / point.count
            return
        if off > max(_STRANGE, _UNUSUAL * self.spread) * mean:
            self._wonder(point, seconds)
            return
        point.count += 1
        point.odds = 0
        point.mean = mean + max(_NEWEST_WEIGHT, 1.0 / point.count) * (seconds - mean)
        self.spread += 0.05 * (min(off / mean, _STRANGE) - self.spread) if mean > 0.0 else 0.0

    def _wonder(self, point: Point, seconds: float) -> None:
        """Keep a strange sample aside; several in a row on the same side are a change, and for the other sizes too."""
        if point.odds and (point.odd > point.mean) != (seconds > point.mean):
            point.odds = 0
        if not point.odds:
            point.odd, point.odd_since = seconds, self._serial
        point.odds += 1
        point.odd += (seconds - point.odd) / point.odds
        if point.odds < _SHIFT:
            return
        ratio = point.odd / point.mean if point.mean > 0.0 else 1.0
        changed = next(size for size, one in self.points.items() if one is point)
        for size, other in self.points.items():
            if other.seen < point.odd_since:
                # More than this was never seen, in proportion: a stall must not grow from size to size.
                most = point.odd * max(size / changed, 1.0)
                other.mean = min(other.mean * ratio, max(most, other.mean))
                other.count = 1
        self._wonder_about_sizes()
        point.mean, point.odds = point.odd, 0

    def _rebuild(self) -> None:
        """Make the table, the best size and the splits anew."""
        self.version += 1
        self.table = self._interpolated()
        points = self.points
        if not points or max(points) < self.largest:
            self.best = self.largest  # nobody knows yet; taking what is there finds out
        else:
            best = self.best if self.best in points else self.largest
            bar = _PREFER * best / max(points[best].mean, 1e-9)
            for size, point in points.items():
                rate = size / max(point.mean, 1e-9)
                if rate > bar:
                    best, bar = size, rate
            self.best = best
        self.first = self._splits()

    def _interpolated(self) -> list[float]:
        points, largest = self.points, self.largest
        if not points:
            return [0.0] * (largest + 1) if self._common is None else list(self._common.table)
        sizes = sorted(points)
        table = [0.0] * (largest + 1)
        low, high = sizes[0], sizes[-1]
        for size in range(1, low):
            table[size] = min(self._borrowed(size, low), points[low].mean)
        table[low] = points[low].mean
        for left, right in pairwise(sizes):
            begin = points[left].mean
            slope = (points[right].mean - begin) / (right - left)
            for size in range(left + 1, right + 1):
                table[size] = begin + slope * (size - left)
        for size in range(high + 1, largest + 1):
            table[size] = max(self._borrowed(size, high), points[high].mean)
        return table

    def _borrowed(self, size: int, measured: int) -> float:
        """Guess from the common curve's shape; without one, in proportion for more items and no less for fewer."""
        mean = self.points[measured].mean
        common = self._common
        if common is not None and common.table[measured] > 0.0 and len(common.points) > 1:
            return mean * common.table[size] / common.table[measured]
        low = min(self.points)
        if size > measured > low:
            slope = max(mean - self.points[low].mean, 0.0) / (measured - low)
            return mean + slope * (size - measured)
        return mean * max(size / measured, 1.0)

    def _splits(self) -> list[int]:
        """For every number of waiting items: one batch of all, or clearly faster by the table, a smaller one first."""
        table, best = self.table, self.best
        first = [0]
        time = [0.0]  # what n waiting items take
        good, good_rate = 0, -inf
        for size in range(1, best + 1):
            whole = table[size]
            parted = table[good] + time[size - good] if good else inf
            if parted < _CLEARLY * whole:
                first.append(good)
                time.append(parted)
            else:
                first.append(size)
                time.append(whole)
            if size in self.points and whole > 0.0 and size / whole > good_rate:
                good, good_rate = size, size / whole
        first.extend([best] * (self.largest - best))
        return first
