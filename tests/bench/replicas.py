"""What callers notice when one of two of each process is killed under load, and when all are restarted in turn.

`CANDELA_REPLICAS=2`; six callers at work, three in JSON over kept connections and three with the Python client: reads,
registrations, and pages to be read, all idempotent. Every attempt is counted. The burst is the time from the first
attempt that was not answered well to the last one, as the JSON callers see it (the Python client hides its own); a call
has failed when it was not answered in five attempts with pauses that double from 0.1 s.
"""

import tempfile
from pathlib import Path

from tests.bench.figures import Figure, Outcome
from tests.support.mesh import Mesh
from tests.support.steady_load import Tally, steady_load
from tests.support.supervisor_command import supervise

_BACK_SECONDS = 60.0
_BURST_MS = 1000.0
_SETTINGS = {"CANDELA_REPLICAS": "2", "CANDELA_USER_BCRYPT_COST": "4"}
_KILLED = ("user", "recognition", "inference", "envoy")


class RestartFailedError(Exception):
    """The rolling restart did not end well; the message is what it printed."""


def bench() -> Outcome:
    """Kill one of each, then restart all."""
    with tempfile.TemporaryDirectory(prefix="candela-bench-") as folder, Mesh.started(Path(folder), _SETTINGS) as mesh:
        tallies = {f"kill -9 {name}": _kill(mesh, name) for name in _KILLED}
        tallies["rolling restart"] = _restart(mesh)
    bursts = [
        Figure(f"{what}: error burst", "ms", (tally.burst() * 1000,), at_most=_BURST_MS, digits=0)
        for what, tally in tallies.items()
    ]
    failures = tuple(float(len(tally.failed)) for tally in tallies.values())
    failed = Figure("calls that failed", "", failures, at_most=0, judged="worst", digits=0)
    return Outcome((*bursts, failed), tuple(_detail(what, tally) for what, tally in tallies.items()))


def _kill(mesh: Mesh, name: str) -> Tally:
    with steady_load(mesh) as tally:
        old = mesh.kill(name)
        tally.wait_for_more()
        mesh.wait_until_back(name, old, timeout=_BACK_SECONDS)
    return tally


def _restart(mesh: Mesh) -> Tally:
    with steady_load(mesh) as tally:
        done = supervise(mesh.data, "restart")
    if done.returncode != 0:
        raise RestartFailedError(done.stderr)
    return tally


def _detail(what: str, tally: Tally) -> str:
    calls, missed = sum(tally.answered.values()), len(tally.missed)
    return f"{what}: {calls} calls answered, {missed} attempts missed, {len(tally.failed)} calls failed"
