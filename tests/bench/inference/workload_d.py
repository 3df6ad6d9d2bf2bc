"""Workload D: a model that sleeps 80 ms a batch of up to 8, so 100 items a second, asked for twice as many.

Requests come as a Poisson process from a process of its own, whatever became of those before: half of the capacity,
then twice, then half again; every caller waits 400 ms. An answer counts when it came within 400 ms of the moment at
which its request was due. *Goodput* is those a second, from one second into the overload until its end, as a part of
what the bare loop does; *wasted* is what the model executed and nobody could use, as a part of all it executed during
the overload; *recovery* is from the end of the overload until all requests are answered in time. Peers are told the
deadline where they can be: Triton as the queue's timeout, LitServe, MOSEC and BentoML as a request's; HTTP clients
close the connection at the deadline, gRPC clients cancel. Answers 408, 429, 503 and 504, RESOURCE_EXHAUSTED and
UNAVAILABLE are refusals.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence

from tests.bench.figures import Figure, Outcome, percentile, table
from tests.bench.inference import peer_servers
from tests.bench.inference.accounts import Overload, overload
from tests.bench.inference.contest import bare, generate
from tests.bench.inference.environments import PEERS, missing, versions
from tests.bench.inference.generator import Flow, Order
from tests.bench.inference.h2load import Target
from tests.bench.inference.ours import Ours
from tests.bench.inference.pace import Pace
from tests.bench.inference.poisson import Phase, bounds
from tests.bench.inference.servers import Server, serving
from tests.bench.inference.works import WORKLOADS

DEADLINE = 0.4
_WORKLOAD = WORKLOADS["sleep80"]
_EXCHANGE, _UNARY = "Candela, Exchange", "Candela, unary gRPC"
_QUIET_SECONDS, _OVERLOAD_SECONDS = 2.0, 6.0
_QUIET = 0.5

Bout = Callable[[int], Overload]


def bench(times: float = 2.0) -> Outcome:
    """Measure our two doors and every peer under `times` the capacity."""
    pace = Pace.chosen()
    capacity = statistics.median(bare(_WORKLOAD)(pace).rate for _ in range(pace.rounds))
    bouts = _bouts(times)
    seen: dict[str, list[Overload]] = {name: [] for name in bouts}
    for number in range(pace.rounds):
        for name, bout in bouts.items():
            seen[name].append(bout(number))
    figures = [
        figure
        for door in (_EXCHANGE, _UNARY)
        for figure in _figures(f"D, {times:g}×: {door[9:]}", seen[door], capacity)
    ]
    return Outcome(tuple(figures), (*_shown(seen, capacity), "", versions()))


def phases(times: float) -> list[Phase]:
    """Return quiet, overload of `times` the capacity, and quiet again."""
    quiet = Phase(_QUIET * _WORKLOAD.capacity, _QUIET_SECONDS)
    return [quiet, Phase(times * _WORKLOAD.capacity, _OVERLOAD_SECONDS), quiet]


def run(server: Server, order: Order, times: float) -> Overload:
    """Put a server through the phases and account for it."""
    begin, end = bounds(phases(times), 1)
    answer = generate(order)
    start, before, after, total = answer.samples
    return overload(answer.flows[0], DEADLINE, begin, end, total - start, after - before)


def _bouts(times: float) -> Mapping[str, Bout]:
    ours = Ours("candela", [_WORKLOAD])

    def exchange(seed: int) -> Overload:
        with serving(ours.recipe()) as server:
            message = bytes.fromhex(ours.flow().message)
            return run(
                server, _order(server, "exchange", message, times, seed, keys=str(server.folder / "keys")), times
            )

    def unary(seed: int) -> Overload:
        with serving(ours.recipe()) as server:
            return run(server, _order_for(server, ours.target(server), times, seed), times)

    def peer(name: str) -> Bout:
        def bout(seed: int) -> Overload:
            with serving(peer_servers.recipe(name, _WORKLOAD, DEADLINE)) as server:
                return run(server, _order_for(server, peer_servers.target(name, server, _WORKLOAD), times, seed), times)

        return bout

    return {_EXCHANGE: exchange, _UNARY: unary, **{name: peer(name) for name in PEERS if not missing(name)}}


def _order_for(server: Server, target: Target, times: float, seed: int) -> Order:
    """Return the order for a server that h2load could load too: without what only h2load needs."""
    if not target.http2:
        return _order(server, "http", target.body, times, seed, path=target.path, headers=target.headers)
    headers = {name: value for name, value in target.headers.items() if name == "authorization"}
    return _order(server, "grpc", target.body[5:], times, seed, path=target.path, headers=headers)


def _order(
    server: Server,
    protocol: str,
    message: bytes,
    times: float,
    seed: int,
    *,
    path: str = "",
    headers: Mapping[str, str] | None = None,
    keys: str = "",
) -> Order:
    flow = Flow(message.hex(), phases=[(phase.rate, phase.seconds) for phase in phases(times)], seed=seed)
    begin, end = bounds(phases(times), 1)
    return Order(
        protocol,
        server.address,
        [flow],
        path=path,
        headers=headers or {},
        keys=keys,
        deadline=DEADLINE,
        counts=str(server.counts),
        sample_at=(0.0, begin, end),
    )


def _figures(what: str, seen: Sequence[Overload], capacity: float) -> list[Figure]:
    refusals = [[1000 * taken for taken in one.refusals] or [0.0] for one in seen]
    goodputs = tuple(100 * one.goodput / capacity for one in seen)
    return [
        Figure(f"{what}, goodput", "%", goodputs, at_least=98.0, digits=1),
        Figure(f"{what}, wasted", "%", tuple(100 * one.wasted for one in seen), at_most=1.0),
        Figure(f"{what}, refusals p50", "ms", tuple(percentile(one, 50) for one in refusals), at_most=2.0),
        Figure(f"{what}, refusals p99", "ms", tuple(percentile(one, 99) for one in refusals), at_most=5.0),
        Figure(f"{what}, recovery", "s", tuple(one.recovery for one in seen), at_most=0.5),
    ]


def _shown(seen: Mapping[str, Sequence[Overload]], capacity: float) -> list[str]:
    rows: list[tuple[str, ...]] = [
        (
            "server",
            "goodput %",
            "smallest",
            "largest",
            "wasted %",
            "refused",
            "p50 ms",
            "p99 ms",
            "recovery s",
            "failed",
        )
    ]
    for name, some in seen.items():
        goodputs = [100 * one.goodput / capacity for one in some]
        refusals = [1000 * taken for one in some for taken in one.refusals]
        ends = [f"{percentile(refusals, percent):.1f}" for percent in (50, 99)] if refusals else ["", ""]
        rows.append(
            (
                name,
                *(f"{one:.1f}" for one in (statistics.median(goodputs), min(goodputs), max(goodputs))),
                f"{100 * statistics.median(one.wasted for one in some):.1f}",
                str(len(refusals)),
                *ends,
                f"{statistics.median(one.recovery for one in some):.2f}",
                str(sum(one.failed for one in some)),
            )
        )
    return [f"capacity: {capacity:.1f}/s", "", *table(rows)]
