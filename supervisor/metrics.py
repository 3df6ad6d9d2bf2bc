"""The supervisor's Prometheus page. Written by hand: prometheus_client would cost 8 MB for five numbers."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from services.kit.ports_plan import PortPlan
from supervisor.specs import ProcessSpec

_HOST = "127.0.0.1"
_TIMEOUT_SECONDS = 5.0
_MAX_HEAD_BYTES = 8192
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a metric."""

    value: float
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with all its lines. `kind` is `counter` or `gauge`."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def exposition(metrics: Iterable[Metric]) -> str:
    """Return metrics in the text format of Prometheus."""
    lines = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        for sample in metric.samples:
            labels = ",".join(f'{name}="{_escape(value)}"' for name, value in sample.labels)
            named = f"{metric.name}{{{labels}}}" if labels else metric.name
            lines.append(f"{named} {sample.value:.15g}")
    return "\n".join(lines) + "\n"


def disk_metrics(data: Path) -> Iterable[Metric]:
    """Yield how much room the disk of the data directory has; nothing when it cannot be asked."""
    try:
        disk = shutil.disk_usage(data)
    except OSError:
        return
    yield Metric(
        "candela_data_free_bytes", "gauge", "Free bytes on the disk of the data directory.", (Sample(disk.free),)
    )
    yield Metric("candela_data_disk_bytes", "gauge", "Size of the disk of the data directory.", (Sample(disk.total),))


def scrape_targets(specs: Iterable[ProcessSpec], ports: PortPlan) -> bytes:
    """Return the file from which Prometheus learns what to scrape (file_sd_configs).

    `component` is what runs, `process` which replica of it.
    """
    pages = {"supervisor": ("supervisor", "metrics-supervisor")}
    pages |= {spec.name: (spec.group, port) for spec in specs for port in spec.ports if port.startswith("metrics-")}
    groups = [
        {
            "targets": [f"{_HOST}:{ports.metrics(port.removeprefix('metrics-'))}"],
            "labels": {"component": component, "process": process},
        }
        for process, (component, port) in pages.items()
    ]
    return json.dumps(groups, indent=1).encode()


class MetricsPage:
    """Answers `GET /metrics` on loopback."""

    def __init__(self, port: int, collect: Callable[[], Iterable[Metric]]) -> None:
        self._port = port
        self._collect = collect
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._answer, _HOST, self._port, limit=_MAX_HEAD_BYTES)

    async def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._reply(head))
                    await writer.drain()
            except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                return

    def _reply(self, head: bytes) -> bytes:
        found = head.startswith((b"GET /metrics ", b"GET /metrics?"))
        body = exposition(self._collect()) if found else "the page is /metrics\n"
        status = "200 OK" if found else "404 Not Found"
        return (
            f"HTTP/1.1 {status}\r\ncontent-type: {_CONTENT_TYPE}\r\ncontent-length: {len(body.encode())}\r\n"
            f"connection: close\r\n\r\n{body}"
        ).encode()


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
