"""`python -m supervisor run`: prepare the data directory, start the mesh, stay until told to stop."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable
from typing import Any

from services.kit.clock import SystemClock
from supervisor.binaries import MissingProgramError
from supervisor.datadir import DataDirInUseError, DataDirLock, write_atomically
from supervisor.keys import ensure_keys
from supervisor.mesh import Mesh, StartFailedError
from supervisor.metrics import Metric, MetricsPage, Sample, disk_metrics, scrape_targets
from supervisor.own_logs import bound_own_logs
from supervisor.ports import busy_message
from supervisor.process import Child
from supervisor.rolling import RollingRestart, in_gateways
from supervisor.screen import Screen
from supervisor.settings import REPOSITORY, SupervisorSettings, python
from supervisor.specs import ProcessSpec, common_environment, front_probe, mesh_specs, redis_config
from supervisor.status import ROLL_SIGNAL, MeshState, StatusFile
from supervisor.supervised import State, Surroundings
from supervisor.traces.ingest import TraceIngest
from supervisor.traces.journal import JournalWriter
from supervisor.traces.receiver import TraceReceiver

_STATUS_INTERVAL = 0.5
_OWN_PORTS = ("otlp", "metrics-supervisor")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(settings: SupervisorSettings) -> int:
    """Run the mesh until SIGINT, SIGTERM or SIGHUP; return 0 after a stop on request, 1 when it cannot start."""
    # All that is made here, by this process or by those it starts, is for its owner only.
    os.umask(0o077)
    screen = Screen(settings)
    started = time.monotonic()
    try:
        _prepare_data_dir(settings)
        with DataDirLock(settings.data):
            specs = _prepare(settings, screen)
            return asyncio.run(_Run(settings, specs, screen, started).serve())
    except StartFailedError as error:
        screen.failure(str(error), error.tail)
    except (DataDirInUseError, MissingProgramError) as error:
        screen.failure(str(error), [])
    except OSError as error:
        screen.failure(f"{error.strerror}: {error.filename}" if error.filename else str(error), [])
    return 1


def _prepare_data_dir(settings: SupervisorSettings) -> None:
    try:
        settings.data.prepare()
    except OSError as error:
        where = settings.data.root
        remedy = "Choose another with CANDELA_DATA_DIR, or make it writable."
        raise StartFailedError(f"the data directory {where} cannot be used: {error.strerror}. {remedy}", []) from error


def _prepare(settings: SupervisorSettings, screen: Screen) -> tuple[ProcessSpec, ...]:
    """Make keys and configuration, look at the ports, and return what is to run."""
    screen.header()
    screen.made_keys(ensure_keys(settings.data.keys))
    specs = mesh_specs(settings)
    names = (*(port for spec in specs for port in spec.ports), *_OWN_PORTS)
    if busy := busy_message(settings.ports, names):
        raise StartFailedError(busy, [])
    password = (settings.data.keys / "redis.password").read_text().strip()
    write_atomically(settings.data.run / "redis.conf", redis_config(settings, password).encode())
    write_atomically(settings.data.run / "prometheus-targets.json", scrape_targets(specs, settings.ports))
    return specs


class _Run:
    """One life of the supervisor."""

    def __init__(
        self, settings: SupervisorSettings, specs: tuple[ProcessSpec, ...], screen: Screen, started: float
    ) -> None:
        self._settings = settings
        self._specs = specs
        self._screen = screen
        self._started = started
        self._env = common_environment(settings)
        self._ingest = TraceIngest(JournalWriter(settings.data.traces))
        self._receiver = TraceReceiver(self._ingest, settings.ports.otlp)
        self._page = MetricsPage(settings.ports.metrics("supervisor"), self._metrics)
        around = Surroundings(self._env, REPOSITORY, settings.data.logs, SystemClock(), screen)
        self._mesh = Mesh(specs, around, front=front_probe(settings))
        self._rolling = RollingRestart(self._mesh, in_gateways(specs))
        self._roll: asyncio.Task[None] | None = None
        self._status_file = StatusFile(settings)
        self._state = MeshState.STARTING
        self._stop = asyncio.Event()

    async def serve(self) -> int:
        """Start, stay, stop. Raises StartFailedError after everything that ran was stopped."""
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_stop_signal)
        loop.add_signal_handler(ROLL_SIGNAL, self._on_roll_signal)
        status = asyncio.create_task(self._keep_status(), name="status file")
        logs = asyncio.create_task(bound_own_logs(self._specs), name="own logs")
        try:
            await self._receiver.start()
            await self._page.start()
            if await self._start_unless_stopped():
                await self._stop.wait()
        finally:
            self._state = MeshState.STOPPING
            if self._roll is not None:
                await _cancelled(self._roll)
            await self._mesh.stop()
            await self._page.stop()
            await self._receiver.stop()
            await _cancelled(logs)
            await _cancelled(status)
            self._status_file.remove()
        self._screen.stopped()
        return 0

    def _on_stop_signal(self) -> None:
        if self._stop.is_set():
            self._mesh.hurry()
        self._stop.set()

    def _on_roll_signal(self) -> None:
        """Begin a rolling restart, unless the mesh is still starting, or stopping, or at it already."""
        if self._state is MeshState.READY and (self._roll is None or self._roll.done()):
            self._roll = asyncio.create_task(self._restart_in_turn(), name="rolling restart")

    async def _restart_in_turn(self) -> None:
        self._screen.preparing("rolling restart")
        if await self._rolling.run():
            self._screen.preparing("rolling restart done")
        else:
            status = self._rolling.status
            self._screen.warning(self._mesh.processes[status.process].spec, "ERROR", f"restart ended: {status.failure}")

    async def _start_unless_stopped(self) -> bool:
        """Start the mesh; return False when the person changed their mind meanwhile."""
        start = asyncio.create_task(self._mesh.start(), name="start")
        stop = asyncio.create_task(self._stop.wait())
        sample = asyncio.create_task(self._draw_sample(), name="sample page")
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        await _cancelled(stop)
        if self._stop.is_set():
            await _cancelled(start)
            await _cancelled(sample)
            return False
        await start
        await sample
        self._state = MeshState.READY
        self._write_status()
        self._screen.welcome(time.monotonic() - self._started)
        return True

    async def _draw_sample(self) -> None:
        """Draw the page for the first recognition, once in the life of a data directory."""
        path = self._settings.data.sample_page
        if path.exists():
            return
        argv = (python(), "-m", "supervisor.sample", str(path))
        child = await Child.spawn(argv, self._env, REPOSITORY, self._mesh.own_log)
        try:
            await child.wait()
        finally:
            child.kill()

    async def _keep_status(self) -> None:
        while True:
            self._write_status()
            await asyncio.sleep(_STATUS_INTERVAL)

    def _write_status(self) -> None:
        self._status_file.write(self._state, self._mesh, self._rolling.status)

    def _metrics(self) -> Iterable[Metric]:
        """Return what the Prometheus page shows."""
        processes = self._mesh.processes.values()
        labels = {process.spec.name: (("process", process.spec.name),) for process in processes}
        up = (Sample(float(p.state is State.READY), labels[p.spec.name]) for p in processes)
        restarts = (Sample(p.restarts, labels[p.spec.name]) for p in processes)
        counts = self._ingest.counts
        yield Metric("candela_process_up", "gauge", "1 when the process is healthy.", tuple(up))
        yield Metric("candela_process_restarts_total", "counter", "Restarts since the start.", tuple(restarts))
        yield from disk_metrics(self._settings.data.root)
        yield Metric("candela_trace_spans_total", "counter", "Spans kept.", (Sample(counts.spans),))
        yield Metric("candela_trace_spans_refused_total", "counter", "Spans refused.", (Sample(counts.refused),))
        yield Metric(
            "candela_trace_spans_lost_total", "counter", "Spans the disk had no room for.", (Sample(counts.lost),)
        )


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is gone, whatever it ends with."""
    task.cancel()
    await asyncio.wait({task})
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()
