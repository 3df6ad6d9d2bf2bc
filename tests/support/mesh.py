"""A whole mesh for a test: the real supervisor with everything it starts, on free ports and in a directory of its own.

A suite makes its own session-scoped fixture:

    @pytest.fixture(scope="session")
    def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
        with Mesh.started(tmp_path_factory.mktemp("mesh")) as mesh:
            yield mesh
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.kit.ports_plan import PortPlan
from supervisor.datadir import DataDir
from supervisor.ports import find_free_base
from supervisor.status import MeshState, MeshStatus, ProcessStatus, read_status
from supervisor.supervised import State
from supervisor.traces.store import StoredTraces, TraceStore
from tests.support.binaries import require_binary
from tests.support.eventually import eventually_sync

_REPOSITORY = Path(__file__).parents[2]
_START_SECONDS = 90.0
_STOP_SECONDS = 60.0
_ATTEMPTS = 3
_LOG_LINES = 15
_FIRST_BASE = 20080


class MeshFailedError(Exception):
    """The mesh did not do what it should; the message holds what it said and its last log lines."""


class Mesh:
    """A running mesh. All waiting is bounded and ends in MeshFailedError with the logs."""

    def __init__(self, folder: Path, base: int, environment: Mapping[str, str]) -> None:
        """Start the supervisor on `folder`; use `started`, which also waits and stops."""
        self.data = DataDir(folder / "data")
        self.ports = PortPlan(base)
        self._output = folder / "supervisor.out"
        self._traces = StoredTraces(self.data.traces)
        given = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        own = {"CANDELA_DATA_DIR": str(self.data.root), "CANDELA_PORT_BASE": str(base), "NO_COLOR": "1"}
        with self._output.open("wb") as output:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-m", "supervisor", "run"],
                cwd=_REPOSITORY,
                env={**given, **own, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @classmethod
    @contextmanager
    def started(cls, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator["Mesh"]:
        """Run a mesh inside the block; without Envoy or Redis on this machine the test ends as "not run".

        `environment` adds settings (`CANDELA_…`) to those that give it its own ports and directory. A folder that was
        used before keeps its data.
        """
        require_binary("envoy")
        require_binary("redis-server")
        mesh = cls._start(folder, environment or {})
        try:
            yield mesh
        finally:
            mesh.stop()

    @property
    def edge(self) -> str:
        """The URL of the edge for JSON."""
        return f"http://127.0.0.1:{self.ports.edge}"

    @property
    def target(self) -> str:
        """The address of the edge for gRPC."""
        return f"127.0.0.1:{self.ports.edge}"

    def status(self) -> MeshStatus:
        """Return what runs now."""
        status = read_status(self.data)
        if status is None:
            raise MeshFailedError(f"the mesh does not run\n{self.account()}")
        return status

    def process(self, name: str) -> ProcessStatus:
        """Return one process by its name: `redis`, `inference`, `user`, `recognition`, `envoy`."""
        return next(process for process in self.status().processes if process.name == name)

    def pids(self) -> dict[str, int]:
        """Return the pids of all running processes by name, the supervisor included."""
        running = {process.name: process.pid for process in self.status().processes if process.pid is not None}
        return {**running, "supervisor": self.supervisor.pid}

    def kill(self, name: str) -> int:
        """Kill a process as nothing can prevent and return the pid it had."""
        pid = self.pids()[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_until_back(self, name: str, old_pid: int, *, timeout: float = 5.0) -> None:
        """Wait until another process than `old_pid` is healthy under that name."""

        def back() -> bool:
            process = self.process(name)
            return process.pid not in (None, old_pid) and process.state == State.READY.value

        self._wait(back, timeout, f"{name} is not back")

    def traces(self) -> TraceStore:
        """Return the traces received so far. Poll it: spans arrive in batches, up to some seconds late."""
        return self._traces.refresh()

    def account(self) -> str:
        """Return what the supervisor printed and the last lines of every log, for the message of a failure."""
        parts = [self._output.read_text(errors="replace")]
        for log in sorted(self.data.logs.glob("*.jsonl")):
            lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            parts.append("\n".join([f"--- {log.name}", *lines]))
        return "\n".join(parts)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop the mesh as Ctrl-C does and return the supervisor's exit status; kill it when it takes too long."""
        if self.supervisor.poll() is None:
            self.supervisor.send_signal(number)
        try:
            return self.supervisor.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            self.supervisor.wait()
            raise MeshFailedError(f"the mesh did not stop within {_STOP_SECONDS:.0f} s\n{self.account()}") from None

    @classmethod
    def _start(cls, folder: Path, environment: Mapping[str, str]) -> "Mesh":
        """Start and wait; again on other ports when another program took one between looking and listening."""
        # The whole plan stays below 32768, where ports begin that the kernel gives to outgoing connections.
        base = _FIRST_BASE + os.getpid() % 250 * 40
        for attempt in range(_ATTEMPTS):
            mesh = cls(folder, find_free_base(base + attempt * 40), environment)
            try:
                mesh._wait(mesh._is_ready, _START_SECONDS, "the mesh is not ready")
            except MeshFailedError as error:
                mesh.stop()
                if " is taken" not in str(error) or attempt == _ATTEMPTS - 1:
                    raise
            except BaseException:
                mesh.stop()
                raise
            else:
                return mesh
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _is_ready(self) -> bool:
        if self.supervisor.poll() is not None:
            raise MeshFailedError(f"the supervisor ended with status {self.supervisor.returncode}\n{self.account()}")
        status = read_status(self.data)
        return status is not None and status.pid == self.supervisor.pid and status.state == MeshState.READY.value

    def _wait(self, condition: Callable[[], bool], timeout: float, complaint: str) -> None:
        try:
            eventually_sync(condition, timeout=timeout)
        except AssertionError:
            raise MeshFailedError(f"{complaint} within {timeout:.0f} s\n{self.account()}") from None
