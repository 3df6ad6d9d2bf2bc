"""Durable jobs as futures: made by a `create`, done some time later, whatever happens to this process meanwhile.

The rules are steps as in core.py. A job is watched through its stream; a stream that breaks is opened again, and what
the job itself says is what counts.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from candela.core import Core, Pause, Steps, Take
from candela.errors import Cancelled, CandelaError, Unavailable, from_status
from candela.method import Method
from candela.type.v1 import job_pb2

if TYPE_CHECKING:
    from candela.async_engine import AsyncEngine
    from candela.engine import Engine

J = TypeVar("J", bound=Message)

_ENDED: Final = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)
_log = logging.getLogger("candela.jobs")


@dataclass(frozen=True, slots=True)
class JobMethods:
    """The methods of one kind of job."""

    get: Method[Any, Any]
    cancel: Method[Any, Any]
    watch: Method[Any, Any]


def status(job: Any) -> job_pb2.JobStatus:
    """Returns how far a job is, as its newest version says."""
    found: job_pb2.JobStatus = job.status
    return found


def has_ended(job: Message) -> bool:
    """Tells whether a job succeeded, failed or was cancelled."""
    return status(job).state in _ENDED


def error_of(job: Message) -> CandelaError | None:
    """Returns why a job that has ended did not succeed, None for one that did."""
    state = status(job)
    if state.state == job_pb2.JOB_STATE_SUCCEEDED:
        return None
    if state.state == job_pb2.JOB_STATE_CANCELLED:
        return Cancelled("the job was cancelled")
    return from_status(state.error)


def ask(core: Core, method: Method[Any, Any], name: str) -> Steps[Any]:
    """Yields the steps that get or cancel a job and returns it; ValueError for a preview, which made none."""
    _require(name)
    return (yield from core.call(method, method.request(name=name)))


def wait(core: Core, methods: JobMethods, name: str, timeout: float | None) -> Steps[Any]:
    """Yields the steps of waiting and returns the job once it has ended; raises CandelaError.

    `timeout` is in seconds; when they are over, DeadlineExceeded is raised and the job goes on. ValueError for a
    preview, which made none.
    """
    _require(name)
    end, quiet = core.end(timeout), 0
    while True:
        broken: CandelaError | None = None
        try:
            yield from _follow(core, methods, name, core.left(end))
        except CandelaError as error:
            broken = error  # the job's own, or the stream's: the job tells
        job = yield from core.call(methods.get, methods.get.request(name=name), core.left(end))
        if has_ended(job):
            return job
        if broken is not None and not isinstance(broken, Unavailable):
            raise broken
        yield Pause(min(core.policy.longest_pause, core.policy.first_pause * 2**quiet))
        quiet += 1


def _require(name: str) -> None:
    if not name:
        raise ValueError("validate_only made no job; `latest` has the price")


def _follow(core: Core, methods: JobMethods, name: str, left: float | None) -> Steps[None]:
    limit = float("inf") if left is None else left
    stream = yield from core.call(methods.watch, methods.watch.request(name=name), limit)
    try:
        while (yield Take(stream)) is not None:
            continue
    finally:
        stream.close()


class Job(Generic[J]):
    """A handle of one job; `latest` is what was last heard of it. Threads may share it."""

    def __init__(self, engine: "Engine", methods: JobMethods, job: J) -> None:
        self._engine = engine
        self._methods = methods
        self._callbacks: list[Callable[[Job[J]], object]] = []
        self._lock = threading.Lock()
        self._watching = False
        self.latest = job

    @property
    def name(self) -> str:
        """The job's name, to take it up again with `handle(name)` in another process."""
        given: str = getattr(self.latest, "name", "")
        return given

    def refresh(self) -> J:
        """Asks how far the job is and returns it."""
        self.latest = self._engine.run(ask(self._engine.core, self._methods.get, self.name))
        return self.latest

    def done(self) -> bool:
        """Tells whether the job has ended; asks when that is not known yet."""
        return has_ended(self.latest) or has_ended(self.refresh())

    def cancelled(self) -> bool:
        """Tells whether the job was stopped by its owner; asks when it is not known to have ended."""
        return self.done() and status(self.latest).state == job_pb2.JOB_STATE_CANCELLED

    def result(self, timeout: float | None = None) -> J:
        """Waits until the job has succeeded and returns it.

        Raises what it failed with, Cancelled when it was cancelled, and DeadlineExceeded after `timeout` seconds.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self.latest

    def exception(self, timeout: float | None = None) -> CandelaError | None:
        """Waits until the job has ended; returns what it failed with, None when it succeeded."""
        if not has_ended(self.latest):
            self.latest = self._engine.run(wait(self._engine.core, self._methods, self.name, timeout))
        return error_of(self.latest)

    def cancel(self) -> bool:
        """Stops the job; returns whether it ended so. A running one ends at its next step."""
        self.latest = self._engine.run(ask(self._engine.core, self._methods.cancel, self.name))
        return status(self.latest).state == job_pb2.JOB_STATE_CANCELLED

    def add_done_callback(self, callback: "Callable[[Job[J]], object]") -> None:
        """Has `callback` called with this handle once the job has ended, in a thread of its own."""
        with self._lock:
            self._callbacks.append(callback)
            if self._watching:
                return
            self._watching = True
        threading.Thread(target=self._call_back, name="candela job", daemon=True).start()

    def _call_back(self) -> None:
        try:
            self.exception()
        except (CandelaError, RuntimeError):  # the client was closed, or nobody can say how the job ended
            _log.exception("waiting for %s ended before it did", self.name)
            return
        while True:
            with self._lock:
                if not self._callbacks:
                    self._watching = False
                    return
                callback = self._callbacks.pop(0)
            _called(callback, self)


class AsyncJob(Generic[J]):
    """What Job is, for asyncio."""

    def __init__(self, engine: "AsyncEngine", methods: JobMethods, job: J) -> None:
        self._engine = engine
        self._methods = methods
        self._callbacks: list[Callable[[AsyncJob[J]], object]] = []
        self._watcher: asyncio.Task[None] | None = None
        self.latest = job

    @property
    def name(self) -> str:
        """The job's name, to take it up again with `handle(name)` in another process."""
        given: str = getattr(self.latest, "name", "")
        return given

    async def refresh(self) -> J:
        """Asks how far the job is and returns it."""
        self.latest = await self._engine.run(ask(self._engine.core, self._methods.get, self.name))
        return self.latest

    async def done(self) -> bool:
        """Tells whether the job has ended; asks when that is not known yet."""
        return has_ended(self.latest) or has_ended(await self.refresh())

    async def cancelled(self) -> bool:
        """Tells whether the job was stopped by its owner; asks when it is not known to have ended."""
        return await self.done() and status(self.latest).state == job_pb2.JOB_STATE_CANCELLED

    async def result(self, timeout: float | None = None) -> J:
        """Waits until the job has succeeded and returns it.

        Raises what it failed with, Cancelled when it was cancelled, and DeadlineExceeded after `timeout` seconds.
        """
        error = await self.exception(timeout)
        if error is not None:
            raise error
        return self.latest

    async def exception(self, timeout: float | None = None) -> CandelaError | None:
        """Waits until the job has ended; returns what it failed with, None when it succeeded."""
        if not has_ended(self.latest):
            self.latest = await self._engine.run(wait(self._engine.core, self._methods, self.name, timeout))
        return error_of(self.latest)

    async def cancel(self) -> bool:
        """Stops the job; returns whether it ended so. A running one ends at its next step."""
        self.latest = await self._engine.run(ask(self._engine.core, self._methods.cancel, self.name))
        return status(self.latest).state == job_pb2.JOB_STATE_CANCELLED

    def add_done_callback(self, callback: "Callable[[AsyncJob[J]], object]") -> None:
        """Has `callback` called with this handle once the job has ended, in the event loop."""
        self._callbacks.append(callback)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._call_back(), name="candela job")

    async def _call_back(self) -> None:
        try:
            await self.exception()
        except (CandelaError, RuntimeError):  # the client was closed, or nobody can say how the job ended
            _log.exception("waiting for %s ended before it did", self.name)
            return
        while self._callbacks:
            _called(self._callbacks.pop(0), self)


def _called(callback: Callable[[Any], object], job: Any) -> None:
    """Calls a callback; as with futures, what it raises is logged and stops nobody else's."""
    try:
        callback(job)
    except Exception:  # noqa: BLE001 -- it is somebody else's code
        _log.exception("a callback of %s failed", job.name)
