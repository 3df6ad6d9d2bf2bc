"""Four shapes at the same time: 64 requests in flight of each, against 256 in flight of one shape.

The model is that of workload A; items of another length are another shape and never share a batch. Everything goes over
Exchange. Our server only: no peer keeps shapes apart by itself.
"""

from tests.bench.figures import Figure, Outcome
from tests.bench.inference.contest import Entrant, Run, contest, exchange, ratios, shown
from tests.bench.inference.ours import Ours
from tests.bench.inference.pace import Pace
from tests.bench.inference.servers import serving
from tests.bench.inference.works import WORKLOADS

_LENGTHS = (1024, 1028, 1032, 1036)
_IN_FLIGHT = 64
_SAME, _MIXED = "one shape", "four shapes"


def bench() -> Outcome:
    """Measure both mixes in turns."""
    runs = contest({_SAME: _entrant(_LENGTHS[:1] * len(_LENGTHS)), _MIXED: _entrant(_LENGTHS)}, Pace.chosen())
    share = tuple(100 * ratio for ratio in ratios(runs[_MIXED], runs[_SAME]))
    return Outcome((Figure("four shapes / one shape", "%", share, at_least=90.0, digits=1),), tuple(shown(runs)))


def _entrant(lengths: tuple[int, ...]) -> Entrant:
    ours = Ours("candela", [WORKLOADS["sleep5"]], options=["--any-length"])

    def run(pace: Pace) -> Run:
        with serving(ours.recipe()) as server:
            return exchange(server, [ours.flow(_IN_FLIGHT, payload=bytes(length)) for length in lengths], pace)

    return run
