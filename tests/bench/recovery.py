"""How fast the mesh recovers from `kill -9` of any one of its processes.

Two times, both from the kill: until the process's health check answers well again, asked as the supervisor asks it and
every 10 ms; and until the mesh answers a request at the edge that needs the process. For the user service and Envoy
that is `GET /v1/users/me`; for the recognition service `GET /v1/recognitions`; for the inference server the reading of
a picture with one word; for Redis a log-out that the recognition service honours, which it learns from Redis only. The
supervisor starts a process at once that had been healthy for ten seconds, so each is left alone that long first.
"""

import asyncio
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from supervisor.probes import Health, Prober
from supervisor.settings import SupervisorSettings
from supervisor.specs import Probe, mesh_specs
from tests.bench.figures import Figure, Outcome
from tests.support.edge import Edge
from tests.support.mesh import Mesh
from tests.support.printed_page import png, print_page

_ROUNDS = 3
_LIMIT_SECONDS = 5.0
_PATIENCE_SECONDS = 60.0
_STEADY_SECONDS = 10.5
_PAUSE_SECONDS = 0.01
_OK = 200
_WORD = "Lighthouse"


class NotBackError(Exception):
    """The mesh did not recover within a minute."""


def bench() -> Outcome:
    """Kill every process three times."""
    healthy: dict[str, list[float]] = {}
    answers: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="candela-bench-") as folder, Mesh.started(Path(folder)) as mesh:
        probes = _probes(mesh)
        for _ in range(_ROUNDS):
            for name in ("redis", "envoy", "user", "recognition", "inference"):
                back, answered = _kill(mesh, name, probes[name])
                healthy.setdefault(name, []).append(back)
                answers.setdefault(name, []).append(answered)
    seconds = {f"{name}: healthy": tuple(all_) for name, all_ in healthy.items()}
    seconds |= {f"{name}: the mesh answers": tuple(all_) for name, all_ in answers.items()}
    return Outcome(
        tuple(Figure(what, "s", all_, at_most=_LIMIT_SECONDS, judged="worst") for what, all_ in seconds.items())
    )


def _probes(mesh: Mesh) -> dict[str, Probe]:
    environment = {"CANDELA_DATA_DIR": str(mesh.data.root), "CANDELA_PORT_BASE": str(mesh.ports.base)}
    return {spec.name: spec.probe for spec in mesh_specs(SupervisorSettings.read(environment))}


def _kill(mesh: Mesh, name: str, probe: Probe) -> tuple[float, float]:
    """Kill one process; return the seconds until it is healthy and until the mesh answers."""
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        attempt = _attempt(name, edge)
        _until(lambda: time.time() - mesh.process(name).since > _STEADY_SECONDS, "the process is not steady")
        pid = mesh.pids()[name]
        begun = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        _until(lambda: not psutil.pid_exists(pid), "it is not gone")
        found: list[float] = []
        watch = threading.Thread(target=lambda: found.append(asyncio.run(_healthy(probe)) - begun))
        watch.start()
        _until(attempt, f"after the death of {name} the mesh does not answer")
        answered = time.monotonic() - begun
        watch.join()
    if not found:
        raise NotBackError(f"{name} is not healthy again")
    return found[0], answered


async def _healthy(probe: Probe) -> float:
    """Return the time at which a process was healthy."""
    prober = Prober(probe)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await prober.check() is not Health.HEALTHY:  # noqa: ASYNC110 - another process has no Event
                await asyncio.sleep(_PAUSE_SECONDS)
            return time.monotonic()
    finally:
        await prober.close()


def _attempt(name: str, edge: Edge) -> Callable[[], bool]:
    """Return a call that says whether the mesh does what it cannot do without that process."""
    picture = png(print_page([_WORD]))
    match name:
        case "inference":
            return lambda: _reads(edge, picture)
        case "recognition":
            return lambda: edge.call("GET", "/v1/recognitions").status_code == _OK
        case "redis":
            return lambda: _logs_out(edge)
        case _:
            return lambda: edge.call("GET", "/v1/users/me").status_code == _OK


def _reads(edge: Edge, picture: bytes) -> bool:
    answer = edge.recognize(picture)
    return answer.status_code == _OK and answer.json()["document"]["text"].strip() == _WORD


def _logs_out(edge: Edge) -> bool:
    """Log out once it is possible; say whether another service knows."""
    edge.call("DELETE", "/v1/sessions/current")
    return edge.call("GET", "/v1/recognitions").status_code == httpx.codes.UNAUTHORIZED


def _until(attempt: Callable[[], bool], complaint: str) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        with suppress(httpx.TransportError):
            if attempt():
                return
        time.sleep(_PAUSE_SECONDS)
    raise NotBackError(complaint)
