"""The metrics page's view of the tallies. Nothing is computed until Prometheus asks, and then on its thread.

Counters never go back: what a model that was unloaded or replaced had counted stays, under its name. Tenants come with
a label of their own as long as they are among the busiest; one that gets a label begins at zero with it, and what it
did before stays with `other`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from threading import Lock
from time import monotonic
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from inference_server import names
from inference_server.statistics import Tally
from inference_server.tenant_labels import TenantLabels
from observability.names import Metric

Ready = Callable[[], Mapping[str, bool]]
"""Says of every model that is to answer, by its identity, whether it does."""


# The last batch of a model is counted a moment after the model was closed.
_LINGER_SECONDS: Final = 10.0


class Exposition(Collector):
    """Every model's numbers as Prometheus wants them. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._tallies: list[Tally] = []
        self._past: dict[str, Tally] = {}  # of models that are gone, by identity
        self._labels: dict[str, TenantLabels] = {}
        self._ready: Ready | None = None

    def add(self, tally: Tally) -> None:
        """Show a model's numbers from now on."""
        self._tallies.append(tally)

    def watch(self, ready: Ready | None) -> None:
        """Ask this for the readiness of models at every look; None to stop."""
        self._ready = ready

    def describe(self) -> Iterator[Family]:
        return iter(_Families().all())

    def collect(self) -> Iterator[Family]:
        families = _Families()
        with self._lock:
            self._retire()
            tallies = list(self._tallies)
            for model in dict.fromkeys([*self._past, *(tally.model for tally in tallies)]):
                living = [tally for tally in tallies if tally.model == model]
                past = self._past.get(model)
                labels = self._labels.setdefault(model, TenantLabels())
                families.add(model, [*living, *([past] if past else [])], labels)
        if self._ready is not None:
            for model, ready in self._ready().items():
                families.ready.add_metric([model], ready)
        return iter(families.all())

    def _retire(self) -> None:
        before = self._clock() - _LINGER_SECONDS
        for tally in [one for one in self._tallies if one.closed and one.closed < before]:
            self._tallies.remove(tally)
            past = self._past.setdefault(tally.model, Tally(tally.model))
            past.absorb(tally)


class _Families:
    """The families of one look at the page."""

    def __init__(self) -> None:
        self.queue = _histogram(names.QUEUE_SECONDS)
        self.compute = _histogram(names.COMPUTE_SECONDS)
        self.sizes = _histogram(names.BATCH_ITEMS)
        self.items = _counter(names.ITEMS)
        self.refusals = _counter(names.REFUSALS)
        self.failures = _counter(names.BATCH_FAILURES)
        self.tenant_items = _counter(names.TENANT_ITEMS)
        self.tenant_compute = _counter(names.TENANT_COMPUTE)
        self.waiting = _gauge(names.WAITING)
        self.waiting_bytes = _gauge(names.WAITING_BYTES)
        self.best = _gauge(names.BEST_BATCH)
        self.ready = _gauge(names.READY)

    def all(self) -> list[Family]:
        return list(vars(self).values())

    def add(self, model: str, tallies: Sequence[Tally], labels: TenantLabels) -> None:
        """Add the numbers of all the tallies that a model has had."""
        self.waiting.add_metric([model], sum(tally.waiting_items for tally in tallies))
        self.waiting_bytes.add_metric([model], sum(tally.waiting_bytes for tally in tallies))
        self.failures.add_metric([model], sum(tally.failed_batches for tally in tallies))
        for outcome in names.OUTCOMES:
            self.items.add_metric([model, outcome], sum(tally.items[outcome] for tally in tallies))
        for reason in sorted({reason for tally in tallies for reason in tally.refusals.copy()}):
            self.refusals.add_metric([model, reason], sum(tally.refusals.get(reason, 0) for tally in tallies))
        self._add_times(model, tallies)
        self._add_sizes(model, tallies)
        best = next((size for tally in tallies if (size := tally.best_size())), 0)
        if best:
            self.best.add_metric([model], best)
        for tenant, items, compute in labels.shown(tallies):
            for outcome, count in items.items():
                self.tenant_items.add_metric([model, tenant, outcome], count)
            self.tenant_compute.add_metric([model, tenant], compute)

    def _add_times(self, model: str, tallies: Sequence[Tally]) -> None:
        queue = [sum(counts) for counts in zip(*(tally.queue_counts for tally in tallies), strict=True)]
        compute = [sum(counts) for counts in zip(*(tally.compute_counts for tally in tallies), strict=True)]
        bounds = names.QUEUE_SECONDS.buckets
        self.queue.add_metric([model], _cumulated(bounds, queue), sum(tally.queue_seconds for tally in tallies))
        self.compute.add_metric([model], _cumulated(bounds, compute), sum(tally.compute_seconds for tally in tallies))

    def _add_sizes(self, model: str, tallies: Sequence[Tally]) -> None:
        bounds = names.BATCH_ITEMS.buckets
        counts = [0] * (len(bounds) + 1)
        items = 0
        for tally in tallies:
            for size, (batches, _) in tally.sizes.copy().items():
                counts[next((at for at, bound in enumerate(bounds) if size <= bound), len(bounds))] += int(batches)
                items += size * int(batches)
        self.sizes.add_metric([model], _cumulated(bounds, counts), items)


def _cumulated(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    seen, buckets = 0, list[tuple[str, float]]()
    for bound, count in zip((*bounds, inf), counts, strict=True):
        seen += count
        buckets.append(("+Inf" if bound == inf else repr(bound), float(seen)))
    return buckets


def _counter(metric: Metric) -> CounterMetricFamily:
    return CounterMetricFamily(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)


def _gauge(metric: Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)


def _histogram(metric: Metric) -> HistogramMetricFamily:
    return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)


EXPOSITION: Final = Exposition()
REGISTRY.register(EXPOSITION)
