"""What `make top` looks at: the Prometheus pages of every process, and what the kernel knows about them."""

import contextlib
import http.client
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

from inference_server import names as inference
from observability import names
from observability.names import Metric
from services.kit.ports_plan import PortPlan
from supervisor.datadir import DataDir
from supervisor.status import MeshStatus, ProcessStatus, read_status

_HOST = "127.0.0.1"
_TIMEOUT_SECONDS = 1.0
_LINE = re.compile(r"^([a-z_]\w*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_HISTOGRAM_PARTS = ("_bucket", "_count", "_sum")
_SHOWN: tuple[Metric, ...] = (
    names.HTTP_REQUESTS, names.HTTP_DURATION, names.RPC_REQUESTS, names.RPC_DURATION, names.RPC_IN_FLIGHT,
    names.DATABASE_CONNECTIONS, names.REDIS_MEMORY, names.ACTIVE_USERS, names.REVOCATIONS_AGE,
    inference.WAITING, inference.BATCH_ITEMS, inference.QUEUE_SECONDS, inference.COMPUTE_SECONDS,
    inference.ITEMS, inference.REFUSALS, inference.BEST_BATCH,
)  # fmt: skip
_WANTED = {name for metric in _SHOWN for name in (metric.name, *(f"{metric.name}{part}" for part in _HISTOGRAM_PARTS))}

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used: CPU in seconds since its start, and memory (PSS, with what it started) in bytes."""

    cpu: float
    memory: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known at one moment. `at` is in seconds of a clock that never jumps, `wall` in seconds since 1970."""

    at: float
    wall: float
    status: MeshStatus
    pages: dict[str, dict[str, dict[Labels, float]]] = field(default_factory=dict)
    """By process, by metric, by labels; a process without a page, or whose page does not answer, is missing."""
    usage: dict[str, Usage] = field(default_factory=dict)

    def samples(self, name: str, processes: Iterable[str] | None = None) -> dict[Labels, float]:
        """Return a metric's samples, added up over processes."""
        added: dict[Labels, float] = {}
        for process in self.pages if processes is None else processes:
            for labels, value in self.pages.get(process, {}).get(name, {}).items():
                added[labels] = added.get(labels, 0.0) + value
        return added


def take(data: DataDir) -> Snapshot | None:
    """Look at the mesh of a data directory; None when none runs."""
    status = read_status(data)
    if status is None:
        return None
    ports = PortPlan(status.port_base)
    pages = {}
    for process in status.processes:
        port = _metrics_port(ports, process.name)
        if port and process.pid and (text := _fetch(port)) is not None:
            pages[process.name] = parse(text)
    usage = {process.name: _usage(process) for process in status.processes if process.pid}
    return Snapshot(time.monotonic(), time.time(), status, pages, usage)


def parse(page: str) -> dict[str, dict[Labels, float]]:
    """Return the samples of the metrics that are shown, from a page in Prometheus' text format."""
    found: dict[str, dict[Labels, float]] = {}
    for name, labels, value in _LINE.findall(page):
        if name in _WANTED:
            found.setdefault(name, {})[tuple(_LABEL.findall(labels))] = float(value)
    return found


def _metrics_port(ports: PortPlan, process: str) -> int:
    """Return the port of a process's page, 0 when it has none. Envoy's is the gateway's."""
    with contextlib.suppress(ValueError):
        return ports.metrics(re.sub("^envoy", "gateway", process))
    return 0


def _fetch(port: int) -> str | None:
    connection = http.client.HTTPConnection(_HOST, port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        return response.read().decode() if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _usage(process: ProcessStatus) -> Usage:
    cpu, memory = 0.0, 0.0
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        own = psutil.Process(process.pid)
        for member in (own, *own.children(recursive=True)):
            times = member.cpu_times()
            cpu += times.user + times.system
            memory += float(member.memory_full_info().pss)
    return Usage(cpu, memory)
