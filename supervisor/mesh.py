"""All processes of one mesh together: started in parallel as their needs allow, stopped in stages."""

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import groupby

from supervisor.drain import drain
from supervisor.logs import ProcessLog
from supervisor.probes import Health
from supervisor.specs import HttpOk, ProcessSpec
from supervisor.steps import StepFailedError, run_step
from supervisor.supervised import Supervised, Surroundings

_FINAL_PROBE_SECONDS = 20.0
_FINAL_PROBE_INTERVAL = 0.05


class StartFailedError(Exception):
    """The mesh cannot start; the message says which process and why, `tail` is what that process printed last."""

    def __init__(self, message: str, tail: list[str]) -> None:
        super().__init__(message)
        self.tail = tail


class Mesh:
    """The supervised processes of one mesh."""

    def __init__(self, specs: Sequence[ProcessSpec], around: Surroundings, *, front: HttpOk | None = None) -> None:
        """`front` is asked last, when every process is ready: the way a client comes in."""
        self.processes = {spec.name: Supervised(spec, around) for spec in specs}
        self.own_log = ProcessLog("supervisor", around.logs / "supervisor.jsonl", lambda _level, _message: None)
        self._around = around
        self._reporter = around.reporter
        self._front = front
        self._tasks: list[asyncio.Task[None]] = []
        self._kill_now = asyncio.Event()

    async def start(self) -> None:
        """Start everything and return when all of it is healthy.

        Raises StartFailedError when a step fails or a process dies three times before it is ready once; what runs
        then is still to be stopped with `stop`.
        """
        waiting = {asyncio.create_task(self._start_one(process)) for process in self.processes.values()}
        try:
            for finished in asyncio.as_completed(waiting):
                await finished
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if self._front is not None:
            await self._wait_for_front(self._front)

    async def stop(self) -> None:
        """Stop everything, the last stage first; each process has its grace, then it is killed."""
        running = [process for process in self.processes.values() if process.pid is not None]
        for process in self.processes.values():
            if process.pid is None:
                process.kill()
        ordered = sorted(running, key=lambda process: process.spec.stage, reverse=True)
        for _, stage in groupby(ordered, key=lambda process: process.spec.stage):
            members = list(stage)
            self._reporter.stopping([process.spec.name for process in members])
            await asyncio.gather(*(self._stop_one(process) for process in members))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self.processes.values():
            process.log.close()
        self.own_log.close()

    def hurry(self) -> None:
        """Kill everything now; a `stop` under way returns as soon as the kernel has cleared up."""
        self._kill_now.set()
        for process in self.processes.values():
            process.kill()

    async def renew(self, process: Supervised) -> None:
        """Do the steps of one running process again, end it in order, start it, and wait until it is healthy.

        Raises StartFailedError when a step fails, and then nothing was ended, or when it is not healthy in time.
        """
        await self._prepare(process)
        has_other = any(other.spec.group == process.spec.group for other in self._others(process))
        process.start_draining()
        await self._drain(process, notice=has_other)
        try:
            await process.renew(grace=process.spec.grace)
        except TimeoutError:
            raise StartFailedError(f"{process.spec.name} is not healthy again", process.log.tail()) from None

    def _others(self, process: Supervised) -> list[Supervised]:
        return [other for other in self.processes.values() if other is not process]

    async def _prepare(self, process: Supervised) -> None:
        """Do the steps before a process's start."""
        for step in process.spec.steps:
            if not step.needed():
                continue
            self._reporter.preparing(step.label)
            try:
                await run_step(step, {**self._around.env, **process.spec.env}, self._around.cwd, process.log)
            except StepFailedError as error:
                raise StartFailedError(str(error), error.tail) from error

    async def _start_one(self, process: Supervised) -> None:
        """Do the steps of one process while its dependencies start, start it, and wait until it is ready."""
        spec = process.spec
        await self._prepare(process)
        for name in spec.depends_on:
            await self.processes[name].ready.wait()
        self._tasks.append(asyncio.create_task(process.run(), name=f"run {spec.name}"))
        ready = asyncio.create_task(process.ready.wait())
        gave_up = asyncio.create_task(process.gave_up.wait())
        try:
            await asyncio.wait({ready, gave_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            gave_up.cancel()
        if process.gave_up.is_set():
            raise StartFailedError(f"{spec.name} does not start", process.log.tail())

    async def _wait_for_front(self, front: HttpOk) -> None:
        prober = self._around.prober(front)
        try:
            async with asyncio.timeout(_FINAL_PROBE_SECONDS):
                while await prober.check() is not Health.HEALTHY:  # noqa: ASYNC110 — another process has no Event
                    await asyncio.sleep(_FINAL_PROBE_INTERVAL)
        except TimeoutError:
            message = f"every process is healthy, but GET {front.path} on port {front.port} does not answer 200"
            raise StartFailedError(message, []) from None

    async def _stop_one(self, process: Supervised) -> None:
        await self._drain(process, notice=False)
        await process.stop(grace=process.spec.grace)

    async def _drain(self, process: Supervised, *, notice: bool) -> None:
        """Let a proxy finish what it is answering, unless everything shall end now."""
        spec = process.spec
        if spec.drain is None or self._kill_now.is_set():
            return
        draining = asyncio.create_task(drain(spec.drain, timeout=spec.grace, notice=notice))
        hurried = asyncio.create_task(self._kill_now.wait())
        try:
            await asyncio.wait({draining, hurried}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (draining, hurried):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
