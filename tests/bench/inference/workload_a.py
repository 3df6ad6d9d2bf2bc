"""Workload A: a model that sleeps 5 ms a batch of up to 32, whatever its size; 1 KB an item, 64 requests in flight.

It can do 6,400 items a second; the ideal is the bare loop, measured in the same rounds. Servers take turns, each
started anew for each run. Our server is the whole process, with tokens, deadlines, metrics, access log and traces (1 %
sampled at the head); over Exchange the kit's client is a process in Python, where every call has a deadline and a trace
of its own. Unary calls, ours and the peers', come from h2load, a client in C that leaves the cores to the servers. CPU
is that of all of a server's processes over all items it executed. How each peer is set up, and why, stands in
tests/bench/inference/peers.
"""

from tests.bench.figures import Figure, Outcome
from tests.bench.inference.contest import bare, contest, ours_exchange, ours_unary, peers, ratios, shown
from tests.bench.inference.environments import versions
from tests.bench.inference.ours import Ours
from tests.bench.inference.pace import Pace
from tests.bench.inference.works import WORKLOADS

_IN_FLIGHT = 64
_BARE, _EXCHANGE, _UNARY = "bare loop", "Candela, Exchange", "Candela, unary gRPC"
_NOMINAL_P99_MS = 10.0


def bench() -> Outcome:
    """Measure the bare loop, our two doors and every peer that is installed."""
    workload = WORKLOADS["sleep5"]
    ours = Ours("candela", [workload])
    entrants = {_BARE: bare(workload), _EXCHANGE: ours_exchange(ours, _IN_FLIGHT), _UNARY: ours_unary(ours, _IN_FLIGHT)}
    runs = contest({**entrants, **peers(workload, _IN_FLIGHT)}, Pace.chosen())
    exchange = runs[_EXCHANGE]
    share = tuple(100 * ratio for ratio in ratios(exchange, runs[_BARE]))
    figures = [
        Figure("A: Exchange / bare loop", "%", share, at_least=97.0, digits=1),
        Figure("A: Exchange p99", "ms", tuple(run.p99 for run in exchange), at_most=1.2 * _NOMINAL_P99_MS),
        Figure("A: Exchange, server CPU a request", "µs", tuple(run.cpu for run in exchange), at_most=45.0, digits=0),
    ]
    if "triton" in runs:
        figures.append(Figure("A: unary gRPC / Triton", "×", ratios(runs[_UNARY], runs["triton"]), at_least=0.9))
    return Outcome(tuple(figures), (*shown(runs), "", versions()))
