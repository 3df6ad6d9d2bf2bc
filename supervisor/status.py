"""What runs now: the file that the supervisor keeps up to date, and `python -m supervisor status` that reads it."""

import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TextIO

from supervisor.datadir import DataDir, holder_of, write_atomically
from supervisor.mesh import Mesh
from supervisor.rolling import NO_ROLL, UNABLE, RollStatus
from supervisor.settings import SupervisorSettings
from supervisor.supervised import Supervised

_MIB = 1024 * 1024
ROLL_SIGNAL = signal.SIGUSR1
"""What the supervisor is sent for a rolling restart. Not SIGHUP: that is a terminal that was closed."""


class MeshState(Enum):
    """Where the whole mesh is in its life."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process as the supervisor saw it last."""

    name: str
    group: str
    pid: int | None
    state: str
    restarts: int
    address: str
    since: float
    """When it was last started, in seconds since 1970; 0 when it does not run."""


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """The whole mesh as the supervisor saw it last."""

    pid: int
    state: str
    port_base: int
    processes: tuple[ProcessStatus, ...]
    roll: RollStatus = NO_ROLL


class StatusFile:
    """The file with the status: written when something changed, so that an idle mesh leaves the disk alone."""

    def __init__(self, settings: SupervisorSettings) -> None:
        self._file = settings.data.status_file
        self._port_base = settings.ports.base
        self._written: MeshStatus | None = None

    def write(self, state: MeshState, mesh: Mesh, roll: RollStatus = NO_ROLL) -> None:
        """Bring the file up to date. A full disk makes it old, and does not stop the mesh."""
        processes = tuple(_status_of(process) for process in mesh.processes.values())
        status = MeshStatus(os.getpid(), state.value, self._port_base, processes, roll)
        if status == self._written:
            return
        with contextlib.suppress(OSError):
            write_atomically(self._file, json.dumps(asdict(status)).encode())
            self._written = status

    def remove(self) -> None:
        """Remove the file at the end."""
        self._file.unlink(missing_ok=True)


def _status_of(process: Supervised) -> ProcessStatus:
    return ProcessStatus(
        name=process.spec.name,
        group=process.spec.group,
        pid=process.pid,
        state=process.state.value,
        restarts=process.restarts,
        address=process.spec.address,
        since=round(process.started_at.timestamp(), 1) if process.pid else 0.0,
    )


def read_status(data: DataDir) -> MeshStatus | None:
    """Return the status of the mesh that runs on a data directory, None when none does."""
    if holder_of(data) is None:
        return None
    try:
        raw = json.loads(data.status_file.read_text())
    except (OSError, ValueError):
        return None
    processes = tuple(ProcessStatus(**process) for process in raw.pop("processes"))
    # A supervisor that was started before there were rolling restarts tells of none.
    roll = RollStatus(**raw.pop("roll", {"number": UNABLE}))
    return MeshStatus(processes=processes, roll=roll, **raw)


def show_status(data: DataDir, out: TextIO = sys.stdout) -> int:
    """Print the processes with their health and memory; return 0 when the mesh is ready, otherwise 1."""
    status = read_status(data)
    if status is None:
        print(f"no mesh runs on {data.root}", file=out)
        return 1
    print(f"mesh {status.state}, ports from {status.port_base}, data {data.root}\n", file=out)
    print(f"{'process':<14}{'pid':>8}  {'state':<11}{'restarts':>8}{'up':>10}{'PSS MiB':>10}  address", file=out)
    total = 0.0
    # Its children are the processes of the mesh and have lines of their own.
    own = ProcessStatus("supervisor", "supervisor", status.pid, "ready", 0, "", 0.0)
    for process in (own, *status.processes):
        pss = _pss(process.pid, alone=process is own) if process.pid else 0.0
        total += pss
        up = f"{time.time() - process.since:.0f} s" if process.since else ""
        print(
            f"{process.name:<14}{process.pid or '-':>8}  {process.state:<11}{process.restarts:>8}{up:>10}"
            f"{pss / _MIB:>10.1f}  {process.address}",
            file=out,
        )
    print(f"{'whole mesh':<14}{'':>8}  {'':<11}{'':>8}{'':>10}{total / _MIB:>10.1f}", file=out)
    return 0 if status.state == MeshState.READY.value else 1


def _pss(pid: int, *, alone: bool) -> float:
    """Return the proportional set size (bytes) of a process and, unless `alone`, its children; 0 when it is gone."""
    import psutil  # noqa: PLC0415 — the supervisor writes the file and never needs it

    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process = psutil.Process(pid)
        members = [process] if alone else [process, *process.children(recursive=True)]
        for member in members:
            total += float(member.memory_full_info().pss)
    return total
