"""The rolling restart: one process after the other is ended in order and started again, while the others answer."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from supervisor.mesh import Mesh, StartFailedError
from supervisor.probes import http_request
from supervisor.specs import GrpcHealth, ProcessSpec
from supervisor.supervised import State, Supervised

_SEEN_SECONDS = 15.0
_SEEN_INTERVAL = 0.1
# Channels between services try a server that was away again within this time.
_RECONNECT_SECONDS = 1.0


class RollState(Enum):
    """How far a rolling restart is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RollStatus:
    """The last rolling restart, for the status file."""

    number: int = 0
    """How many there were since the mesh started, this one included."""
    state: str = RollState.DONE.value
    process: str = ""
    """The one that is being restarted, or that the restart failed at."""
    failure: str = ""


NO_ROLL = RollStatus()
UNABLE = -1
"""The number that stands for a supervisor of an older version, which cannot do it."""


class RollFailedError(Exception):
    """The restart was given up; the message says at which process and why. What runs goes on running."""


Balanced = Callable[[ProcessSpec], Awaitable[bool]]


class RollingRestart:
    """Restarts what may be restarted, in the order of the start. State, such as Redis, is left alone."""

    def __init__(
        self,
        mesh: Mesh,
        balanced: Balanced,
        *,
        seen_seconds: float = _SEEN_SECONDS,
        reconnect_seconds: float = _RECONNECT_SECONDS,
    ) -> None:
        """Wait after each process until `balanced` says that whoever balances uses it again, and then a little."""
        self._mesh = mesh
        self._balanced = balanced
        self._seen_seconds, self._reconnect_seconds = seen_seconds, reconnect_seconds
        self.status = NO_ROLL

    async def run(self) -> bool:
        """Restart everything; return False, with the reason in `status`, when it was given up."""
        number = self.status.number + 1
        processes = [one for one in self._mesh.processes.values() if one.spec.renewable]
        for process in processes:
            name = process.spec.name
            self.status = RollStatus(number, RollState.RUNNING.value, name)
            try:
                self._check_stand_in(process)
                await self._mesh.renew(process)
                await self._settle(process)
            except (StartFailedError, RollFailedError) as error:
                self.status = RollStatus(number, RollState.FAILED.value, name, str(error))
                return False
        self.status = RollStatus(number, RollState.DONE.value)
        return True

    def _check_stand_in(self, process: Supervised) -> None:
        """Refuse to end a process while the one that should stand in for it is not well."""
        for other in self._mesh.processes.values():
            same = other is not process and other.spec.group == process.spec.group
            if same and other.state is not State.READY:
                raise RollFailedError(f"{other.spec.name} is {other.state.value} and cannot stand in meanwhile")

    async def _settle(self, process: Supervised) -> None:
        """Wait until the process is used again, so that the next one may be missing."""
        try:
            async with asyncio.timeout(self._seen_seconds):
                while not await self._balanced(process.spec):  # noqa: ASYNC110 — Envoy has no Event
                    await asyncio.sleep(_SEEN_INTERVAL)
        except TimeoutError:
            raise RollFailedError(f"{process.spec.name} is healthy and the gateway does not use it") from None
        await asyncio.sleep(self._reconnect_seconds)


def in_gateways(specs: Iterable[ProcessSpec]) -> Balanced:
    """Return how to ask every Envoy of the mesh whether it takes a service for healthy."""
    admin_ports = [spec.drain.admin_port for spec in specs if spec.drain is not None]

    async def balanced(spec: ProcessSpec) -> bool:
        if not isinstance(spec.probe, GrpcHealth):
            return True
        try:
            pages = [await http_request(port, f"/clusters?filter=^{spec.group}$") for port in admin_ports]
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return False
        return all(_is_used(page, spec) for _, page in pages)

    return balanced


def _is_used(page: bytes, spec: ProcessSpec) -> bool:
    """Read Envoy's list of hosts: an unknown host, one of a service without routes, is nobody's concern."""
    prefix = f"{spec.group}::{spec.address}::health_flags::".encode()
    flags = [line.removeprefix(prefix) for line in page.splitlines() if line.startswith(prefix)]
    return all(flag == b"healthy" for flag in flags)
