"""What is cancelled while it waits never runs.

The model sleeps two seconds an item and is kept busy by two urgent requests in flight. Beside them 10,000 and more come
over Exchange, 200 at a time, whose callers give up after 50 ms. What the model executed, less what was answered, is
what ran although nobody wanted it any more.
"""

from dataclasses import replace

from tests.bench.figures import Figure, Outcome
from tests.bench.inference.contest import generate
from tests.bench.inference.generator import Order
from tests.bench.inference.ours import Ours
from tests.bench.inference.servers import serving
from tests.bench.inference.works import WORKLOADS

_LOW, _HIGH = 1, 3
_URGENT, _GIVING_UP = 2, 200
_PATIENCE = 0.05
_SECONDS = 10.0
_ENOUGH = 10_000


def bench() -> Outcome:
    """Withdraw thousands of requests, then compare what ran with what was answered."""
    ours = Ours("candela", [WORKLOADS["sleep2000"]])
    flows = [
        replace(ours.flow(_URGENT), priority=_HIGH),
        replace(ours.flow(_GIVING_UP), priority=_LOW, cancel_after=_PATIENCE),
    ]
    with serving(ours.recipe()) as server:
        before = server.executed()
        keys = str(server.folder / "keys")
        answer = generate(Order("exchange", server.address, flows, keys=keys, seconds=_SECONDS))
        ran = server.executed() - before - sum(answer.answered)
    withdrawn = sum(1 for fate in answer.flows[1] if fate.outcome == "withdrawn")
    figures = (
        Figure("cancelled in the queue, and executed all the same", "", (float(ran),), at_most=0.0, digits=0),
        Figure("cancelled in the queue", "", (float(withdrawn),), at_least=_ENOUGH, digits=0),
    )
    return Outcome(figures)
