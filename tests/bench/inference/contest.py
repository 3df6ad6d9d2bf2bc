"""Servers that take turns under closed load, round by round, so that whatever else the machine does hits all alike."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import percentile, table
from tests.bench.inference import peer_servers
from tests.bench.inference.environments import PEERS, REPOSITORY, missing
from tests.bench.inference.generator import Answer, Flow, Order
from tests.bench.inference.h2load import Target, load
from tests.bench.inference.ours import Ours
from tests.bench.inference.pace import Pace
from tests.bench.inference.servers import Server, serving
from tests.bench.inference.works import Workload, make_run

_ENOUGH = 0.95
_MILLISECONDS, _MICROSECONDS = 1e3, 1e6
_GENERATOR_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one server: answers a second, milliseconds, and µs of CPU of all its processes an item."""

    rate: float
    p50: float
    p99: float
    cpu: float


Entrant = Callable[[Pace], Run]
Runs = Mapping[str, Sequence[Run]]


def contest(entrants: Mapping[str, Entrant], pace: Pace) -> Runs:
    """Let every entrant run once a round; each round begins with another one."""
    runs: dict[str, list[Run]] = {name: [] for name in entrants}
    names = list(entrants)
    for number in range(pace.rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            runs[name].append(entrants[name](pace))
    return runs


def bare(workload: Workload) -> Entrant:
    """Return the ideal: full batches one after the other, in this process and with nothing around them."""

    def run(pace: Pace) -> Run:
        model = make_run(workload)
        batch = [peer_servers.item(workload)] * workload.max_batch
        cpu, begun, batches = time.process_time(), time.perf_counter(), 0
        while time.perf_counter() - begun < pace.seconds:
            model(batch)
            batches += 1
        seconds, items = time.perf_counter() - begun, batches * workload.max_batch
        taken = seconds / batches * _MILLISECONDS
        return Run(items / seconds, taken, taken, (time.process_time() - cpu) / items * _MICROSECONDS)

    return run


def peers(workload: Workload, in_flight: int) -> dict[str, Entrant]:
    """Return the peers that are installed, under load by h2load."""

    return {name: peer(name, workload, in_flight) for name in PEERS if not missing(name)}


def peer(name: str, workload: Workload, in_flight: int, settings: Mapping[str, str] | None = None) -> Entrant:
    """Return one peer, with variables of its own."""

    def run(pace: Pace) -> Run:
        with serving(peer_servers.recipe(name, workload, settings=settings)) as server:
            return unary(server, lambda: peer_servers.target(name, server, workload), in_flight, pace)

    return run


def ours_unary(ours: Ours, in_flight: int) -> Entrant:
    """Return our server under load by h2load on unary gRPC."""

    def run(pace: Pace) -> Run:
        with serving(ours.recipe()) as server:
            return unary(server, lambda: ours.target(server), in_flight, pace)

    return run


def ours_exchange(ours: Ours, in_flight: int) -> Entrant:
    """Return our server under load by the kit's client over Exchange, in a process of its own."""

    def run(pace: Pace) -> Run:
        with serving(ours.recipe()) as server:
            return exchange(server, [ours.flow(in_flight)], pace)

    return run


def unary(server: Server, target: Callable[[], Target], in_flight: int, pace: Pace) -> Run:
    """Load a server with h2load; AssertionError when it answers more than it executes: then answers are errors."""
    before = server.cpu(), server.executed()
    seen = load(target(), in_flight, pace.seconds, pace.warm_up)
    cpu, items = server.cpu() - before[0], server.executed() - before[1]
    if items < len(seen.latencies) * _ENOUGH or seen.failed:
        raise AssertionError(f"{server.name}: {len(seen.latencies)} answers, {seen.failed} failed, {items} executed")
    return _run(seen.rate, seen.latencies, cpu, items)


def exchange(server: Server, flows: Sequence[Flow], pace: Pace) -> Run:
    """Load our server over Exchange with flows of closed load; every call carries deadline and trace context."""
    before = server.cpu(), server.executed()
    order = Order(
        "exchange",
        server.address,
        flows,
        keys=str(server.folder / "keys"),
        deadline=10.0,
        seconds=pace.seconds,
        warm_up=pace.warm_up,
    )
    answer = generate(order)
    cpu, items = server.cpu() - before[0], server.executed() - before[1]
    fates = [fate for flow in answer.flows for fate in flow]
    if bad := [fate for fate in fates if fate.outcome != "ok"]:
        raise AssertionError(f"{server.name}: {len(bad)} of {len(fates)} calls ended as {bad[0].outcome}")
    return _run(len(fates) / answer.seconds, [fate.taken for fate in fates], cpu, items)


def generate(order: Order) -> Answer:
    """Run the load generator in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="candela-load-") as folder:
        given, written = Path(folder, "order.json"), Path(folder, "answer.json")
        given.write_text(order.to_json(), encoding="utf-8")
        command = [sys.executable, "-m", "tests.bench.inference.generator", str(given), str(written)]
        subprocess.run(command, check=True, cwd=REPOSITORY, timeout=_GENERATOR_SECONDS)
        return Answer.from_json(written.read_text(encoding="utf-8"))


def ratios(over: Sequence[Run], under: Sequence[Run]) -> tuple[float, ...]:
    """Return how one server's rate relates to another's, round by round."""
    return tuple(one.rate / other.rate for one, other in zip(over, under, strict=True))


def shown(runs: Runs) -> list[str]:
    """Return the lines of a table: medians of all runs, and the spread of the rate."""
    rows: list[tuple[str, ...]] = [("server", "/s", "smallest", "largest", "p50 ms", "p99 ms", "CPU µs", "runs")]
    for name, some in runs.items():
        rates = [run.rate for run in some]
        medians = [
            statistics.median(values) for values in zip(*((one.p50, one.p99, one.cpu) for one in some), strict=True)
        ]
        rows.append(
            (
                name,
                *(f"{rate:.0f}" for rate in (statistics.median(rates), min(rates), max(rates))),
                *(f"{one:.2f}" for one in medians[:2]),
                f"{medians[2]:.0f}",
                str(len(some)),
            )
        )
    return table(rows)


def _run(rate: float, latencies: Sequence[float], cpu: float, items: int) -> Run:
    p50, p99 = (percentile(latencies, percent) * _MILLISECONDS for percent in (50, 99))
    return Run(rate, p50, p99, cpu / max(1, items) * _MICROSECONDS)
