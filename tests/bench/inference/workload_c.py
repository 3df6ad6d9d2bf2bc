"""Workload C: a model that does nothing, batching on, one client: what the way through the server costs.

Our unary call is compared with an echo: a servicer that answers at once behind the same pipeline (token, access,
validation, deadline, telemetry, access log), so that what is above it is codec, queue, batch and instance. All servers
batch as in the other workloads, and none waits longer to fill a batch than its settings allow at least. LitServe is
measured as it comes, and with the fast queue that its docs recommend for many requests and that other workloads give
it. The client is h2load with one request in flight; over Exchange it is the kit's, in Python.
"""

from tests.bench.figures import Figure, Outcome
from tests.bench.inference.contest import Runs, contest, ours_exchange, ours_unary, peer, peers, shown
from tests.bench.inference.environments import versions
from tests.bench.inference.ours import Ours
from tests.bench.inference.pace import Pace
from tests.bench.inference.works import WORKLOADS

_UNARY, _EXCHANGE, _ECHO = "Candela, unary gRPC", "Candela, Exchange", "echo, same pipeline"
_LITSERVE, _DEFAULT_QUEUE = "litserve", "litserve, default queue"


def bench() -> Outcome:
    """Measure our two doors, the echo and every peer that is installed."""
    workload = WORKLOADS["noop"]
    ours = Ours("candela", [workload])
    echo = Ours("echo", [workload], module="tests.bench.inference.echo")
    entrants = {_UNARY: ours_unary(ours, 1), _ECHO: ours_unary(echo, 1), _EXCHANGE: ours_exchange(ours, 1)}
    others = peers(workload, 1)
    if _LITSERVE in others:
        others[_DEFAULT_QUEUE] = peer(_LITSERVE, workload, 1, {"CANDELA_BENCH_FAST_QUEUE": "0"})
    runs = contest({**entrants, **others}, Pace.chosen())
    figures = [
        Figure("C: unary p50 / echo", "×", _p50s(runs, _UNARY, _ECHO), at_most=1.3),
        Figure("C: unary p50", "ms", tuple(run.p50 for run in runs[_UNARY])),
        Figure("C: Exchange p50", "ms", tuple(run.p50 for run in runs[_EXCHANGE])),
    ]
    if _LITSERVE in runs:
        figures[1:1] = [
            Figure("C: LitServe p50 / unary", "×", _p50s(runs, _DEFAULT_QUEUE, _UNARY), at_least=2.5),
            Figure("C: LitServe p50, fast queue / unary", "×", _p50s(runs, _LITSERVE, _UNARY)),
        ]
    return Outcome(tuple(figures), (*shown(runs), "", versions()))


def _p50s(runs: Runs, over: str, under: str) -> tuple[float, ...]:
    return tuple(one.p50 / other.p50 for one, other in zip(runs[over], runs[under], strict=True))
