"""One process under supervision: started, probed, restarted when it dies or hangs, stopped when told."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from services.kit.clock import Clock
from supervisor.backoff import RestartPolicy
from supervisor.logs import ProcessLog
from supervisor.probes import Health, HealthProbe, Prober
from supervisor.process import Child, describe_exit
from supervisor.reporter import Reporter
from supervisor.specs import Probe, ProcessSpec

_HOPELESS_STARTS = 3
# Wrong settings and a missing program do not get better by trying again.
_HOPELESS_STATUS = (2, 127)
# One probe that takes too long on a busy machine means nothing.
_MISSED_PROBES = 3


class State(Enum):
    """Where a process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    DOWN = "down"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a process may take, in seconds."""

    start: float = 60.0
    """From the start until it is healthy."""
    silence: float = 20.0
    """Without any answer to a probe, once it was healthy, until it counts as hung."""
    starting_interval: float = 0.05
    """Between probes until it is healthy: short, it is part of how fast a restart is."""
    watch_interval: float = 2.0
    """Between probes of a healthy process."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all processes of a mesh have in common."""

    env: Mapping[str, str]
    cwd: Path
    logs: Path
    clock: Clock
    reporter: Reporter
    patience: Patience = Patience()
    prober: Callable[[Probe], HealthProbe] = Prober


class Supervised:
    """Keeps one process running until `stop`.

    `ready` is set while the process is up and was healthy, `gave_up` once there is no hope that it ever will be.
    """

    def __init__(self, spec: ProcessSpec, around: Surroundings) -> None:
        self.spec = spec
        self.state = State.WAITING
        self.restarts = 0
        self.ready = asyncio.Event()
        self.gave_up = asyncio.Event()
        self.started_at = around.clock.now()
        self._begun = 0.0
        self._failed_starts = 0
        self._renewing = False
        self._was_ready = False
        self._env, self._cwd = {**around.env, **spec.env}, around.cwd
        self._clock, self._reporter, self._patience = around.clock, around.reporter, around.patience
        self._policy = RestartPolicy(around.clock)
        self._prober = around.prober(spec.probe)
        self._stop_requested = asyncio.Event()
        self._child: Child | None = None
        self.log = ProcessLog(spec.name, around.logs / f"{spec.name}.jsonl", self._on_warning)

    @property
    def pid(self) -> int | None:
        """The pid of the running process, None when there is none."""
        return self._child.pid if self._child else None

    async def run(self) -> None:
        """Start the process and start it again whenever it ends, until `stop` is called. Run it as a task."""
        try:
            while not self._stop_requested.is_set():
                status = await self._live_once()
                if self._stop_requested.is_set():
                    break
                if not self._renewing:
                    await self._after_failure(status)
        finally:
            self.state = State.STOPPED
            await self._prober.close()

    async def stop(self, *, grace: float) -> None:
        """Ask the process to finish, wait at most `grace` seconds, then kill it. The task of `run` ends soon after."""
        self._stop_requested.set()
        if self._child is not None:
            await self._finish(self._child, grace)

    async def renew(self, *, grace: float) -> None:
        """Ask the process to finish as `stop` does, start it again at once, and return when it is healthy.

        Raises TimeoutError when it is not within the time that a start may take; it is then tried further. Does
        nothing to a process that is not running: it is being started again anyway.
        """
        if self._child is not None and not self._stop_requested.is_set():
            self.start_draining()
            self.ready.clear()
            await self._finish(self._child, grace)
        async with asyncio.timeout(self._patience.start):
            await self.ready.wait()

    def start_draining(self) -> None:
        """Take note that the process is about to end because it was told to: its end is no failure."""
        self._renewing, self.state = True, State.DRAINING

    async def _finish(self, child: Child, grace: float) -> None:
        child.terminate()
        try:
            async with asyncio.timeout(grace):
                await child.wait()
        except TimeoutError:
            self._reporter.overdue(self.spec, grace)
            child.kill()

    def kill(self) -> None:
        """End the process now, without asking."""
        self._stop_requested.set()
        if self._child is not None:
            self._child.kill()

    def _on_warning(self, level: str, message: str) -> None:
        if not self._renewing:  # what it says about its end, such as the signal, is expected
            self._reporter.warning(self.spec, level, message)

    async def _live_once(self) -> int:
        """Live through one process from start to end; return its exit status."""
        self.started_at = self._clock.now()
        self._begun = self._clock.monotonic()
        self.state, self._renewing = State.STARTING, False
        self._child = child = await Child.spawn(self.spec.argv, self._env, self._cwd, self.log)
        if self._stop_requested.is_set():  # It came while the process was being started.
            child.terminate()
        watch = asyncio.create_task(self._watch(child), name=f"watch {self.spec.name}")
        try:
            status = await child.wait()
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            child.kill()
            self._child = None
            self.ready.clear()
            self.state = State.DOWN
            await self._prober.close()
        return status

    async def _after_failure(self, status: int) -> None:
        """Tell about the end of the process and wait until it is time to start it again, or until `stop`."""
        verdict = self._policy.failed()
        self._failed_starts += 1
        hopeless = status in _HOPELESS_STATUS or self._failed_starts >= _HOPELESS_STARTS
        if hopeless and not self._was_ready:
            self.gave_up.set()
            await self._stop_requested.wait()
            return
        self._reporter.died(self.spec, describe_exit(status), verdict.delay)
        if verdict.report:
            self._reporter.failing(self.spec, verdict.failures_in_window, self.log.tail())
        self.restarts += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(verdict.delay):
                await self._stop_requested.wait()

    async def _watch(self, child: Child) -> None:
        """Probe until the process is healthy, then keep an eye on it. Ends by cancellation or by killing a hung one."""
        while await self._prober.check() is not Health.HEALTHY:
            if self._clock.monotonic() - self._begun > self._patience.start:
                self._reporter.unhealthy(self.spec, f"not healthy within {self._patience.start:.0f} s, killed")
                child.kill()
                return
            await asyncio.sleep(self._patience.starting_interval)
        self.state = State.READY
        self._policy.ready()
        self._was_ready = True
        self._reporter.ready(self.spec, self._clock.monotonic() - self._begun, restarted=self.restarts > 0)
        self.ready.set()
        await self._watch_healthy(child)

    async def _watch_healthy(self, child: Child) -> None:
        last_answer = self._clock.monotonic()
        while not self._stop_requested.is_set():
            await asyncio.sleep(self._patience.watch_interval)
            health = await self._prober.check()
            now = self._clock.monotonic()
            if health is not Health.UNREACHABLE:
                last_answer = now
                self._note(health is Health.HEALTHY, "answers that it cannot serve")
            elif now - last_answer > self._patience.silence:
                self._reporter.unhealthy(self.spec, f"no answer for {now - last_answer:.0f} s, killed")
                child.kill()
                return
            elif now - last_answer > _MISSED_PROBES * self._patience.watch_interval:
                self._note(False, "does not answer")

    def _note(self, healthy: bool, why: str) -> None:
        was_ready = self.state is State.READY
        if self._stop_requested.is_set() or self._renewing or healthy is was_ready:
            return
        self.state = State.READY if healthy else State.UNHEALTHY
        if healthy:
            self._reporter.ready(self.spec, 0.0, restarted=True)
        else:
            self._reporter.unhealthy(self.spec, why)
