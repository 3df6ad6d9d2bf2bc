"""Servers under load: started on a free port, ready when they answer, with the CPU that all their processes take."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench.inference.works import executed
from tests.gateway.envoy import free_ports
from tests.support.child_process import start, stop

_READY_SECONDS = 90.0
_STEP = 0.05


class ServerFailedError(Exception):
    """A server did not start; the message ends with its output."""


@dataclass
class Server:
    """A running server: what it is called, where it listens, and its processes."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    _spent: dict[int, float] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def counts(self) -> Path:
        """Where its processes count what they execute."""
        return self.folder / "counts"

    def executed(self) -> int:
        """Return how many items its model has executed."""
        return executed(self.counts)

    def cpu(self) -> float:
        """Return the seconds of CPU that its processes have taken, those that ended as when they were last seen."""
        parent = psutil.Process(self.process.pid)
        for member in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                self._spent[member.pid] = times.user + times.system
        return sum(self._spent.values())

    def output(self) -> str:
        """Return the end of what it printed."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]


@dataclass(frozen=True)
class Recipe:
    """How to start a server: its command in a folder on a port, its environment, and how to ask whether it answers."""

    name: str
    command: Callable[[Path, int], Sequence[str | Path]]
    environment: Callable[[Path, int], Mapping[str, str]]
    ready: Callable[[Server], bool]


@contextmanager
def serving(recipe: Recipe) -> Iterator[Server]:
    """Run a server for the block. Raises ServerFailedError when it ends early or does not answer."""
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix=f"candela-bench-{recipe.name.split()[0].lower()}-"))
    (folder / "counts").mkdir()
    command = [str(part) for part in recipe.command(folder, port)]
    wrapped = [
        "/usr/bin/env",
        *(f"{name}={value}" for name, value in _changes(recipe.environment(folder, port))),
        *command,
    ]
    process = start(wrapped, folder=folder, log=folder / "log", identity={}, parent_gone=signal.SIGTERM)
    server = Server(recipe.name, process, port, folder)
    try:
        _wait(server, recipe.ready)
        yield server
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _changes(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in environment.items() if os.environ.get(name) != value]


def _wait(server: Server, ready: Callable[[Server], bool]) -> None:
    until = time.monotonic() + _READY_SECONDS
    while not ready(server):
        if server.process.poll() is not None or time.monotonic() > until:
            raise ServerFailedError(f"{server.name} did not start: {server.output()}")
        time.sleep(_STEP)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a server and whatever it started."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    stop(process, [signal.SIGTERM, signal.SIGINT], seconds=5.0)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
