"""What a model did since it was loaded: plain numbers, counted as batches end, and read whenever somebody asks.

A Tally is written on the loop thread only. Others may read while it is written: every structure of it that they walk is
copied in one step first, and single numbers may be a batch apart.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from time import monotonic, time_ns
from typing import Final, TypeVar

from opentelemetry.trace import SpanContext

from inference_server import names

# A flow that was quiet longest is forgotten by name beyond so many; its numbers stay in the totals.
MOST_TENANTS: Final = 1000
MOST_SHAPES: Final = 256

_BOUNDS: Final = names.QUEUE_SECONDS.buckets
# A tenant's numbers are a list: items by these outcomes, seconds in the queue, seconds of compute.
COUNTED_OF_TENANT: Final = (*names.OUTCOMES, names.REFUSED)
_PLACE: Final = {name: place for place, name in enumerate(COUNTED_OF_TENANT)}
_DONE, _FAILED, _REFUSED = _PLACE[names.DONE], _PLACE[names.FAILED], _PLACE[names.REFUSED]
_QUEUE: Final = len(COUNTED_OF_TENANT)
COMPUTE: Final = _QUEUE + 1
_NS: Final = 1_000_000_000
NumberT = TypeVar("NumberT", int, float)


@dataclass(slots=True)
class BatchRecord:
    """One batch that is over, its results on their way. Times are in seconds unless said otherwise.

    `waits` has one entry an item: from its arrival to the batch's beginning. `began_ns` is in nanoseconds since 1970.
    `tenants` says how many items each tenant had; `waited` and `failures` how long those waited together and how many
    failed, and may be left out where one tenant had all or none failed. `spans` are those of the items' requests, in
    the batch's order; one may come several times.
    """

    instance: int
    bucket: Hashable
    waits: Sequence[float]
    compute: float
    began_ns: int
    failed: int
    tenants: Mapping[str, int]
    spans: Sequence[SpanContext]
    waited: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spread:
    """How long things took: so many at most so many seconds, not cumulated; the last count is of all longer ones.

    `longest` is the longest of them: what lies in one bucket with it is interpolated up to it.
    """

    bounds: Sequence[float]
    counts: Sequence[int]
    seconds: float
    longest: float

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, part: float) -> float:
        """Return within how many seconds that part ended, interpolated within its bucket; 0 when there is nothing."""
        rank, seen, low = part * self.count, 0, 0.0
        for bound, count in zip((*self.bounds, inf), self.counts, strict=True):
            if count and seen + count >= rank:
                return low + (min(bound, self.longest) - low) * max(rank - seen, 0.0) / count
            seen, low = seen + count, bound
        return 0.0


@dataclass(frozen=True, slots=True)
class SizeStatistics:
    """Batches of one size, and how long they took together."""

    size: int
    batches: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ShapeStatistics:
    """Batches of one shape: the model's key for it, as text."""

    bucket: Hashable
    batches: int
    items: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TenantStatistics:
    """What one tenant's items came to. `compute_seconds` is its part of the batches' time, by items."""

    tenant: str
    items: Mapping[str, int]
    queue_seconds: float
    compute_seconds: float

    @property
    def total(self) -> int:
        return sum(self.items.values())


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """What a model did since it was loaded.

    `items` has every outcome of names.OUTCOMES; `refusals` counts requests by reason and `refused_items` their items.
    `done` and `failed` items ran: theirs are the times. `item_compute_seconds` counts a batch's time once an item, as
    the Open Inference Protocol does; `compute.seconds` counts it once. Times since 1970 are in ns, 0 for never.
    """

    since_ns: int
    last_batch_ns: int
    items: Mapping[str, int]
    refusals: Mapping[str, int]
    refused_items: int
    batches: int
    failed_batches: int
    queue: Spread
    compute: Spread
    item_compute_seconds: float
    sizes: Sequence[SizeStatistics]
    shapes: Sequence[ShapeStatistics]
    tenants: Sequence[TenantStatistics]
    forgotten_tenants: TenantStatistics
    waiting_items: int
    waiting_bytes: int

    @property
    def queue_ns(self) -> int:
        """Time that the items which ran had waited, together."""
        return round(self.queue.seconds * _NS)

    @property
    def compute_ns(self) -> int:
        """Time that items were computed for, a batch's time once an item."""
        return round(self.item_compute_seconds * _NS)


Best = Callable[[Hashable], int | None]
"""Says how many items of a shape make the best batch, None while that is not known. Called from any thread."""


class Tally:
    """The counters of one model, from its loading on."""

    # Plain attributes and lists, no objects per batch: a batch of 32 items costs a few µs in all.
    __slots__ = (
        "batches",
        "best",
        "closed",
        "compute_counts",
        "compute_seconds",
        "failed_batches",
        "item_compute_seconds",
        "items",
        "last_batch_ns",
        "longest_compute",
        "longest_wait",
        "model",
        "queue_counts",
        "queue_seconds",
        "refusals",
        "refused_items",
        "rest",
        "shapes",
        "since_ns",
        "sizes",
        "tenants",
        "waiting_bytes",
        "waiting_items",
    )

    def __init__(self, model: str) -> None:
        self.model = model
        self.closed = 0.0  # when, by the process's monotonic clock; 0.0 while it is open
        self.best: Best | None = None
        self.since_ns, self.last_batch_ns = time_ns(), 0
        self.items = dict.fromkeys(names.OUTCOMES, 0)
        self.refusals: dict[str, int] = {}
        self.refused_items = self.batches = self.failed_batches = 0
        self.queue_counts = [0] * (len(_BOUNDS) + 1)
        self.compute_counts = [0] * (len(_BOUNDS) + 1)
        self.queue_seconds = self.compute_seconds = self.item_compute_seconds = 0.0
        self.longest_wait = self.longest_compute = 0.0
        self.sizes: dict[int, list[float]] = {}  # size → batches, seconds
        self.shapes: dict[Hashable, list[float]] = {}  # shape → batches, items, seconds; the latest used last
        # Tenant → its numbers; the latest used last. Ordered, so that a tenant never is out of it for a moment.
        self.tenants: OrderedDict[str, list[float]] = OrderedDict()
        self.rest = [0.0] * (COMPUTE + 1)  # of the tenants that were forgotten
        self.waiting_items = self.waiting_bytes = 0

    def refused(self, reason: str, tenant: str, items: int) -> None:
        self.refusals[reason] = self.refusals.get(reason, 0) + 1
        self.refused_items += items
        self._tenant(tenant)[_REFUSED] += items

    def ended(self, outcome: str, tenant: str, items: int) -> None:
        self.items[outcome] += items
        self._tenant(tenant)[_PLACE[outcome]] += items

    def batch(self, record: BatchRecord) -> None:
        waits, compute = record.waits, record.compute
        size = len(waits)
        self.last_batch_ns = record.began_ns
        self.batches += 1
        self.failed_batches += record.failed == size
        counts = self.queue_counts
        for wait in waits:
            counts[bisect_left(_BOUNDS, wait)] += 1
        waited = sum(waits)
        self.queue_seconds += waited
        self.longest_wait = max(self.longest_wait, max(waits))  # noqa: PLW3301 - to unpack the waits takes a µs
        self.longest_compute = max(self.longest_compute, compute)
        self.compute_counts[bisect_left(_BOUNDS, compute)] += 1
        self.compute_seconds += compute
        self.item_compute_seconds += compute * size
        self.items[names.DONE] += size - record.failed
        self.items[names.FAILED] += record.failed
        of_size = self.sizes.setdefault(size, [0, 0.0])
        of_size[0] += 1
        of_size[1] += compute
        self._shape(record.bucket, size, compute)
        self._share(record, waited, compute / size)

    def _shape(self, bucket: Hashable, size: int, compute: float) -> None:
        shapes = self.shapes
        shape = shapes.pop(bucket, None)
        if shape is None:
            shape = [0, 0, 0.0]
            if len(shapes) >= MOST_SHAPES:
                del shapes[next(iter(shapes))]
        shape[0] += 1
        shape[1] += size
        shape[2] += compute
        shapes[bucket] = shape

    def _share(self, record: BatchRecord, waited: float, per_item: float) -> None:
        """Give every tenant its part of a batch."""
        alone = len(record.tenants) == 1
        for tenant, items in record.tenants.items():
            failed = record.failed if alone else record.failures.get(tenant, 0)
            kept = self._tenant(tenant)
            kept[_DONE] += items - failed
            kept[_FAILED] += failed
            kept[_QUEUE] += waited if alone else record.waited.get(tenant, 0.0)
            kept[COMPUTE] += per_item * items

    def _tenant(self, tenant: str) -> list[float]:
        """Return a tenant's numbers, as the latest used; who was quiet longest goes when there are too many."""
        tenants = self.tenants
        kept = tenants.get(tenant)
        if kept is not None:
            tenants.move_to_end(tenant)
            return kept
        if len(tenants) >= MOST_TENANTS:
            _, gone = tenants.popitem(last=False)
            self.rest = _added(self.rest, gone)
        kept = tenants[tenant] = [0.0] * (COMPUTE + 1)
        return kept

    def best_size(self, bucket: Hashable = None) -> int:
        """Return how many items make the best batch, of the busiest shape if none is named; 0 while it is not known."""
        if self.best is None or self.closed:
            return 0
        if bucket is None:
            bucket = max(self.shapes.copy().items(), key=lambda pair: pair[1][1], default=(None, None))[0]
        return (self.best(bucket) or 0) if bucket is not None else 0

    def close(self) -> None:
        """Nothing waits any more; only what is on its way is counted yet."""
        self.waiting_items = self.waiting_bytes = 0
        self.best = None
        self.closed = self.closed or monotonic()

    def absorb(self, other: "Tally") -> None:
        """Add what another one counted, which is over."""
        for outcome, count in other.items.items():
            self.items[outcome] += count
        for reason, count in other.refusals.items():
            self.refusals[reason] = self.refusals.get(reason, 0) + count
        for number in ("refused_items", "batches", "failed_batches", "queue_seconds", "compute_seconds"):
            setattr(self, number, getattr(self, number) + getattr(other, number))
        self.item_compute_seconds += other.item_compute_seconds
        self.queue_counts = _added(self.queue_counts, other.queue_counts)
        self.compute_counts = _added(self.compute_counts, other.compute_counts)
        for size, numbers in other.sizes.items():
            self.sizes[size] = _added(self.sizes.get(size, [0.0, 0.0]), numbers)
        for tenant, numbers in other.tenants.items():
            kept = self._tenant(tenant)
            kept[:] = _added(kept, numbers)

    def statistics(self) -> ModelStatistics:
        """Return a copy of everything."""
        return ModelStatistics(
            self.since_ns,
            self.last_batch_ns,
            self.items.copy(),
            self.refusals.copy(),
            self.refused_items,
            self.batches,
            self.failed_batches,
            Spread(_BOUNDS, tuple(self.queue_counts), self.queue_seconds, self.longest_wait),
            Spread(_BOUNDS, tuple(self.compute_counts), self.compute_seconds, self.longest_compute),
            self.item_compute_seconds,
            [SizeStatistics(size, int(kept[0]), kept[1]) for size, kept in sorted(self.sizes.copy().items())],
            [ShapeStatistics(key, int(kept[0]), int(kept[1]), kept[2]) for key, kept in self.shapes.copy().items()],
            [_of_tenant(tenant, kept) for tenant, kept in self.tenants.copy().items()],
            _of_tenant(names.OTHER_TENANTS, self.rest),
            self.waiting_items,
            self.waiting_bytes,
        )


def _added(one: Sequence[NumberT], other: Sequence[NumberT]) -> list[NumberT]:
    return [mine + yours for mine, yours in zip(one, other, strict=True)]


def _of_tenant(tenant: str, kept: Sequence[float]) -> TenantStatistics:
    items = {name: int(kept[place]) for name, place in _PLACE.items()}
    return TenantStatistics(tenant, items, kept[_QUEUE], kept[COMPUTE])
