"""Who comes first when there is too much: urgent requests, and tenants by their weights.

The model sleeps 80 ms a batch of up to 8 (100 items a second). Urgent requests come at 20 a second as a Poisson
process, first alone, then in a flood of 400 a second of low priority. The bar is their p99 alone plus one batch.

Tenants of weights 1, 2 and 4 each ask for the whole capacity and more; their parts of what was answered are compared
with their parts of the weights, once the queue has filled. Everything goes over Exchange; callers wait 2 s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.bench.figures import Figure, Outcome, percentile, table
from tests.bench.inference.accounts import Fate
from tests.bench.inference.contest import generate
from tests.bench.inference.generator import Flow, Order
from tests.bench.inference.ours import Ours
from tests.bench.inference.pace import Pace
from tests.bench.inference.servers import Server, serving
from tests.bench.inference.works import WORKLOADS

_WORKLOAD = WORKLOADS["sleep80"]
_BATCH_MS = 80.0
_LOW, _NORMAL, _HIGH = 1, 2, 3
_URGENT_RATE, _FLOOD_RATE = 20.0, 400.0
_WEIGHTS: Mapping[str, float] = {"bronze": 1, "silver": 2, "gold": 4}
_FILL_SECONDS = 2.0
_DEADLINE = 2.0
_SECONDS_FACTOR = 4  # a p99 of a few requests a second needs some time


def bench() -> Outcome:
    """Measure urgent requests alone and in the flood, then the tenants' shares."""
    pace = Pace.chosen()
    seconds = pace.seconds * _SECONDS_FACTOR
    ours = Ours("candela", [_WORKLOAD], settings={"CANDELA_INFERENCE_WEIGHTS": _settings()})
    alone, flooded, shares = [], [], []
    for seed in range(pace.rounds):
        with serving(ours.recipe()) as server:
            urgent = replace(ours.flow(), phases=[(_URGENT_RATE, seconds)], seed=seed, priority=_HIGH)
            flood = replace(ours.flow(), phases=[(_FLOOD_RATE, seconds)], seed=seed + 1000, priority=_LOW)
            alone.append(_p99(_load(server, [urgent])[0]))
            flooded.append(_p99(_load(server, [urgent, flood])[0]))
            shares.append(_shares(_load(server, _tenants(ours, seconds, seed))))
    added = tuple(after - before for after, before in zip(flooded, alone, strict=True))
    off = tuple(100 * max(abs(share[name] - part) for name, part in _parts().items()) for share in shares)
    figures = (
        Figure("high priority, p99 in a flood of low: added", "ms", added, at_most=_BATCH_MS, digits=1),
        Figure("high priority, p99 alone", "ms", tuple(alone), digits=1),
        Figure("high priority, p99 in the flood", "ms", tuple(flooded), digits=1),
        Figure("weighted tenants, furthest from their part", "% points", off, at_most=5.0),
    )
    return Outcome(figures, tuple(_table(shares)))


def _settings() -> str:
    return ",".join(f"{name}={weight:g}" for name, weight in _WEIGHTS.items())


def _parts() -> dict[str, float]:
    whole = sum(_WEIGHTS.values())
    return {name: weight / whole for name, weight in _WEIGHTS.items()}


def _tenants(ours: Ours, seconds: float, seed: int) -> list[Flow]:
    rate = 1.5 * _WORKLOAD.capacity
    return [
        replace(ours.flow(), phases=[(rate, seconds)], seed=seed * 10 + number, priority=_NORMAL, tenant=name)
        for number, name in enumerate(_WEIGHTS)
    ]


def _load(server: Server, flows: Sequence[Flow]) -> Sequence[Sequence[Fate]]:
    order = Order(
        "exchange",
        server.address,
        flows,
        keys=str(server.folder / "keys"),
        deadline=_DEADLINE,
        counts=str(server.counts),
    )
    return generate(order).flows


def _p99(fates: Sequence[Fate]) -> float:
    """Return the p99 in milliseconds; a request that was not answered took for ever."""
    return percentile([1000 * fate.taken if fate.outcome == "ok" else float("inf") for fate in fates], 99)


def _shares(flows: Sequence[Sequence[Fate]]) -> dict[str, float]:
    """Return each tenant's part of all answers that came while all asked and the queue was full."""
    last = min(max(fate.due for fate in fates) for fates in flows)
    answers = [
        sum(1 for fate in fates if fate.outcome == "ok" and _FILL_SECONDS < fate.ended < last) for fates in flows
    ]
    whole = max(1, sum(answers))
    return {name: count / whole for name, count in zip(_WEIGHTS, answers, strict=True)}


def _table(shares: Sequence[Mapping[str, float]]) -> list[str]:
    rows = [("tenant", "weight", "part %", "measured %")]
    for name, part in _parts().items():
        measured = " ".join(f"{100 * share[name]:.1f}" for share in shares)
        rows.append((name, f"{_WEIGHTS[name]:g}", f"{100 * part:.1f}", measured))
    return table(rows)
