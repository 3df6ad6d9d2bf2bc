"""The figures of `make top`, from two looks at the mesh: rates and latencies between them. Nothing here does I/O."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inference_server import names as inference
from observability import names
from observability.names import Metric
from supervisor.status import ProcessStatus
from supervisor.top_pages import Labels, Snapshot

_OUR_FAULT = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
NO_FIGURE = math.nan


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds within which so many of a hundred calls ended; NaN when there were none."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls between two looks: per second, how long they took, which parts of them failed (0 to 1)."""

    rate: float
    latency: Latency
    failed: float
    """Our fault: 5xx, or a gRPC status that means the same."""
    refused: float = NO_FIGURE
    """The caller's: 4xx."""


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """One process. `cpu` is in cores, memory in bytes; figures it does not have are NaN."""

    status: ProcessStatus
    cpu: float
    memory: float
    calls: Calls
    in_flight: float
    connections: float


@dataclass(frozen=True, slots=True)
class RouteFigures:
    """One method and endpoint of the edge."""

    method: str
    endpoint: str
    calls: Calls


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One model of the inference server. Rates are per second, times in seconds, sizes in items.

    `best_size` is what replicas hold for the best batch of their busiest shape; NaN while none knows.
    """

    model: str
    waiting: float
    items: float
    batch_size: float
    queue: Latency
    compute: Latency
    failed: float
    refused: float
    best_size: float


class Window:
    """What happened between an earlier look and the last one; with none earlier, since each process began."""

    def __init__(self, new: Snapshot, old: Snapshot | None = None) -> None:
        self.new = new
        self.old = old
        self._grown: dict[tuple[str, ...], dict[Labels, float]] = {}

    def seconds(self, since: float) -> float:
        """Return the length of the window, for a process that began at `since` (seconds since 1970)."""
        length = self.new.wall - since if self.old is None else self.new.at - self.old.at
        return max(length, 0.001)

    def increase(self, name: str, processes: Iterable[str]) -> dict[Labels, float]:
        """Return by how much counters grew; one that began again counts from zero."""
        key = (name, *processes)
        if key not in self._grown:
            self._grown[key] = self._increase(*key)
        return self._grown[key]

    def _increase(self, name: str, *processes: str) -> dict[Labels, float]:
        grown: dict[Labels, float] = {}
        for process in processes:
            before = self.old.pages.get(process, {}).get(name, {}) if self.old else {}
            for labels, value in self.new.pages.get(process, {}).get(name, {}).items():
                past = before.get(labels, 0.0)
                grown[labels] = grown.get(labels, 0.0) + (value - past if value >= past else value)
        return grown

    def latency(self, metric: Metric, processes: Iterable[str], wanted: dict[str, str] | None = None) -> Latency:
        """Return the quantiles of a histogram, of the series with the wanted labels."""
        bounds: dict[float, float] = {}
        for labels, count in self.increase(f"{metric.name}_bucket", processes).items():
            named = dict(labels)
            if (wanted or {}).items() <= named.items():
                bound = float(named["le"])
                bounds[bound] = bounds.get(bound, 0.0) + count
        buckets = sorted(bounds.items())
        return Latency(quantile(buckets, 0.5), quantile(buckets, 0.95), quantile(buckets, 0.99))

    def processes(self) -> list[ProcessFigures]:
        """Return the figures of every process in the order of the status."""
        return [self._process(status) for status in self.new.status.processes]

    def _process(self, status: ProcessStatus) -> ProcessFigures:
        name, seconds = status.name, self.seconds(status.since)
        usage = self.new.usage.get(name)
        before = self.old.usage.get(name) if self.old else None
        cpu = NO_FIGURE
        if usage is not None:
            past = before.cpu if before and before.cpu <= usage.cpu else 0.0
            cpu = (usage.cpu - past) / seconds
        return ProcessFigures(
            status,
            cpu,
            usage.memory if usage else NO_FIGURE,
            self.edge([name]) if name in gateways(self.new) else self._rpc(name, seconds),
            _sum(self.new, names.RPC_IN_FLIGHT, name),
            _sum(self.new, names.DATABASE_CONNECTIONS, name),
        )

    def _rpc(self, process: str, seconds: float) -> Calls:
        codes = _by(self.increase(names.RPC_REQUESTS.name, [process]), "code")
        total = sum(codes.values())
        latency = self.latency(names.RPC_DURATION, [process])
        if process not in self.new.pages or names.RPC_REQUESTS.name not in self.new.pages[process]:
            total = NO_FIGURE if process not in self.new.pages else 0.0
        failed = sum(count for code, count in codes.items() if code in _OUR_FAULT)
        return Calls(total / seconds, latency, _part(failed, total))

    def edge(self, processes: Sequence[str], where: dict[str, str] | None = None) -> Calls:
        """Return the requests at these gateways, of one method and endpoint or of all."""
        grown = self.increase(names.HTTP_REQUESTS.name, processes)
        mine = {labels: count for labels, count in grown.items() if (where or {}).items() <= dict(labels).items()}
        codes = _by(mine, "status_code")
        total = sum(codes.values())
        seconds = self.seconds(
            min((one.since for one in self.new.status.processes if one.name in processes), default=0)
        )
        return Calls(
            total / seconds,
            self.latency(names.HTTP_DURATION, processes, where),
            _part(sum(count for code, count in codes.items() if code.startswith("5")), total),
            _part(sum(count for code, count in codes.items() if code.startswith("4")), total),
        )

    def routes(self) -> list[RouteFigures]:
        """Return what was called at the edge, most often first."""
        here = gateways(self.new)
        grown = self.increase(names.HTTP_REQUESTS.name, here)
        pairs = {(dict(labels)["method"], dict(labels)["endpoint"]) for labels, count in grown.items() if count}
        found = [
            RouteFigures(method, endpoint, self.edge(here, {"method": method, "endpoint": endpoint}))
            for method, endpoint in sorted(pairs)
        ]
        return sorted(found, key=lambda route: -route.calls.rate)

    def models(self) -> list[ModelFigures]:
        """Return the models of all inference servers, by name."""
        servers = [one.name for one in self.new.status.processes if one.group == "inference"]
        waiting = _by(self.new.samples(inference.WAITING.name, servers), "model")
        return [self._model(model, count, servers) for model, count in sorted(waiting.items())]

    def _model(self, model: str, waiting: float, servers: list[str]) -> ModelFigures:
        seconds = self.seconds(min(one.since for one in self.new.status.processes if one.name in servers))
        mine = {"model": model}

        def grown(name: str, **labels: str) -> float:
            wanted = (mine | labels).items()
            return sum(count for key, count in self.increase(name, servers).items() if wanted <= dict(key).items())

        pages = (self.new.pages.get(server, {}) for server in servers)
        best = (page.get(inference.BEST_BATCH.name, {}).get((("model", model),), 0.0) for page in pages)
        batches = grown(f"{inference.BATCH_ITEMS.name}_count")
        return ModelFigures(
            model,
            waiting,
            grown(inference.ITEMS.name) / seconds,
            _part(grown(f"{inference.BATCH_ITEMS.name}_sum"), batches),
            self.latency(inference.QUEUE_SECONDS, servers, mine),
            self.latency(inference.COMPUTE_SECONDS, servers, mine),
            grown(inference.ITEMS.name, outcome="failed") / seconds,
            grown(inference.REFUSALS.name) / seconds,
            max((size for size in best if size), default=NO_FIGURE),
        )

    def total(self, metric: Metric) -> float:
        """Return a gauge of which each process has its own part, such as connections; NaN when none shows it."""
        values = [value for page in self.new.pages.values() for value in page.get(metric.name, {}).values()]
        return sum(values) if values else NO_FIGURE

    def gauge(self, metric: Metric) -> float:
        """Return a gauge that every replica shows alike, such as Redis's memory; NaN when none shows it."""
        values = [value for page in self.new.pages.values() for value in page.get(metric.name, {}).values()]
        return max((value for value in values if not math.isnan(value)), default=NO_FIGURE)


def gateways(snapshot: Snapshot) -> list[str]:
    """Return the names of the gateways."""
    return [process.name for process in snapshot.status.processes if process.group == "envoy"]


def quantile(buckets: Sequence[tuple[float, float]], part: float) -> float:
    """Return the value below which `part` of the observations lie, from cumulative buckets; NaN for none.

    As Prometheus does: evenly spread inside a bucket, the last finite bound for what lies beyond it.
    """
    if not buckets or buckets[-1][1] <= 0:
        return NO_FIGURE
    rank = part * buckets[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if math.isinf(bound):
                return lower
            inside = count - below
            return lower + (bound - lower) * ((rank - below) / inside if inside else 1.0)
        lower, below = bound, count
    return lower


def _by(samples: dict[Labels, float], label: str) -> dict[str, float]:
    added: dict[str, float] = {}
    for labels, value in samples.items():
        key = dict(labels).get(label, "")
        added[key] = added.get(key, 0.0) + value
    return added


def _sum(snapshot: Snapshot, metric: Metric, process: str) -> float:
    samples = snapshot.pages.get(process, {}).get(metric.name)
    return sum(samples.values()) if samples else NO_FIGURE


def _part(some: float, total: float) -> float:
    return some / total if total else NO_FIGURE
