"""Workload B: a small conv net in torch, 3×96×96 float32 an item (110 KB), 64 requests in flight, batches of up to 32.

Nobody is told which batch size is best: every server may make batches of up to 32 and has its dynamic batching on, ours
too, which times sizes and picks one (peers fill batches as far as they can). The net has one torch thread everywhere:
the other core is for the server and the client. *Bare* is the net in this process without any server, in batches of the
size that is best for it; *no-op* is our server with a model that looks at nothing, for items of the same size: a server
can be no faster than either. *Fixed* is our server with another limit for batches; the best of these is what the picked
size is compared with.
"""

import statistics
import subprocess
import sys
from collections.abc import Sequence

from tests.bench.figures import Figure, Outcome
from tests.bench.inference.contest import (
    Entrant,
    Run,
    Runs,
    contest,
    ours_exchange,
    ours_unary,
    peers,
    ratios,
    shown,
)
from tests.bench.inference.environments import PEERS, REPOSITORY, versions
from tests.bench.inference.ours import Ours
from tests.bench.inference.pace import Pace
from tests.bench.inference.works import WORKLOADS

_IN_FLIGHT = 64
_SIZES = (4, 8, 16, 24, 32)
_BARE, _NOOP = "bare net, best size", "Candela, Exchange, no-op"
_EXCHANGE, _UNARY = "Candela, Exchange", "Candela, unary gRPC"


def bench() -> Outcome:
    """Measure the bare net, our server as it is, with a no-op and with fixed limits, and every installed peer."""
    workload = WORKLOADS["conv"]
    ours = Ours("candela", [workload])
    fixed = {f"Candela, at most {size}": _fixed(size) for size in _SIZES}
    entrants: dict[str, Entrant] = {
        _BARE: _bare,
        _NOOP: ours_exchange(Ours("candela", [WORKLOADS["noop-large"]]), _IN_FLIGHT),
        _EXCHANGE: ours_exchange(ours, _IN_FLIGHT),
        _UNARY: ours_unary(ours, _IN_FLIGHT),
        **fixed,
    }
    runs = contest({**entrants, **peers(workload, _IN_FLIGHT)}, Pace.chosen())
    figures = [
        Figure(
            "B: Exchange / min(bare net, no-op)", "%", _percent(runs, _slowest(runs, (_BARE, _NOOP))), at_least=85.0
        ),
        Figure("B: picked size / best fixed size", "%", _percent(runs, _best(runs, list(fixed))), at_least=95.0),
        Figure("B: unary gRPC", "/s", tuple(run.rate for run in runs[_UNARY]), digits=0),
    ]
    if installed := [peer for peer in PEERS if peer in runs]:
        best = _best(runs, installed)
        figures.insert(0, Figure("B: Exchange / best peer", "×", ratios(runs[_EXCHANGE], best), at_least=1.3))
    return Outcome(tuple(figures), (*shown(runs), "", versions()))


def _fixed(size: int) -> Entrant:
    return ours_exchange(Ours("candela", [WORKLOADS["conv"]], options=[f"--max-batch={size}"]), _IN_FLIGHT)


def _bare(pace: Pace) -> Run:
    """Run the net in a process of its own with the allocator as our server has it."""
    command = [sys.executable, "-m", "tests.bench.inference.bare_net", str(pace.seconds / len(_SIZES))]
    done = subprocess.run(
        [*command, *map(str, _SIZES)], check=True, capture_output=True, text=True, cwd=REPOSITORY, timeout=120
    )
    rate, milliseconds, cpu = (float(part) for part in done.stdout.split())
    return Run(rate, milliseconds, milliseconds, cpu)


def _percent(runs: Runs, under: Sequence[Run]) -> tuple[float, ...]:
    return tuple(100 * ratio for ratio in ratios(runs[_EXCHANGE], under))


def _best(runs: Runs, names: Sequence[str]) -> Sequence[Run]:
    """Return the runs of the entrant that is fastest in the median: not each round's luckiest."""
    return max((runs[name] for name in names), key=_median)


def _slowest(runs: Runs, names: Sequence[str]) -> Sequence[Run]:
    return min((runs[name] for name in names), key=_median)


def _median(some: Sequence[Run]) -> float:
    return statistics.median(run.rate for run in some)
