"""Workload C: a model that does nothing, batching on, one client: what the way through the server costs.

Our unary call is compared with an echo: a servicer that answers at once behind the same pipeline (token, access,
validation, deadline, telemetry, access log), so that what is above it is codec, queue, batch and instance. All servers
batch as in the other workloads, and none waits longer to fill a batch than its settings allow at least. The client is
h2load with one request in flight; over Exchange it is the kit's, in Python.
"""

from tests.bench.figures import Figure, Outcome
from tests.bench.inference.contest import Runs, contest, ours_exchange, ours_unary, peers, shown
from tests.bench.inference.environments import versions
from tests.bench.inference.ours import Ours
from tests.bench.inference.pace import Pace
from tests.bench.inference.works import WORKLOADS

_UNARY, _EXCHANGE, _ECHO = "Candela, unary gRPC", "Candela, Exchange", "echo, same pipeline"


def bench() -> Outcome:
    """Measure our two doors, the echo and every peer that is installed."""
    workload = WORKLOADS["noop"]
    ours = Ours("candela", [workload])
    echo = Ours("echo", [workload], module="tests.bench.inference.echo")
    entrants = {_UNARY: ours_unary(ours, 1), _ECHO: ours_unary(echo, 1), _EXCHANGE: ours_exchange(ours, 1)}
    runs = contest({**entrants, **peers(workload, 1)}, Pace.chosen())
    figures = [
        Figure("C: unary p50 / echo", "×", _p50s(runs, _UNARY, _ECHO), at_most=1.3),
        Figure("C: unary p50", "ms", tuple(run.p50 for run in runs[_UNARY])),
        Figure("C: Exchange p50", "ms", tuple(run.p50 for run in runs[_EXCHANGE])),
    ]
    if "litserve" in runs:
        figures.insert(1, Figure("C: LitServe p50 / unary", "×", _p50s(runs, "litserve", _UNARY), at_least=2.5))
    return Outcome(tuple(figures), (*shown(runs), "", versions()))


def _p50s(runs: Runs, over: str, under: str) -> tuple[float, ...]:
    return tuple(one.p50 / other.p50 for one, other in zip(runs[over], runs[under], strict=True))
