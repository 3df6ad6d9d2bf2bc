"""Clients that take turns, so that whatever else the machine does hits all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.bench.figures import percentile, table

_ROUNDS = 10
_BLOCKS = 10
_CALLS = 25
_WARM_UP = 200

Client = Callable[[], Any]
# Each round's milliseconds, by client.
Times = Mapping[str, list[list[float]]]


def alternate(clients: Mapping[str, Client]) -> Times:
    """Call each client 2,500 times, a block of 25 at a time, in ten rounds."""
    for client in clients.values():
        for _ in range(_WARM_UP):
            client()
    times: dict[str, list[list[float]]] = {name: [] for name in clients}
    for _ in range(_ROUNDS):
        for rounds in times.values():
            rounds.append([])
        for _ in range(_BLOCKS):
            for name, client in clients.items():
                times[name][-1].extend(_block(client))
    return times


def _block(client: Client) -> list[float]:
    taken = []
    for _ in range(_CALLS):
        begun = time.perf_counter()
        client()
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


def added(times: Times, client: str, over: str) -> tuple[float, ...]:
    """Return for each round what the client's median lies above that of `over`, in milliseconds."""
    return tuple(
        statistics.median(one) - statistics.median(direct)
        for one, direct in zip(times[client], times[over], strict=True)
    )


def percentiles(times: Times) -> list[str]:
    """Return the percentiles of each client's calls as the lines of a table."""
    rows: list[tuple[str, ...]] = [("milliseconds", "p50", "p95", "p99", "calls")]
    for name, rounds in times.items():
        calls = [one for round_ in rounds for one in round_]
        rows.append((name, *(f"{percentile(calls, percent):.3f}" for percent in (50, 95, 99)), str(len(calls))))
    return table(rows)
