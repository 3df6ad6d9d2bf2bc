"""What reporting costs the server's loop: `PYTHONPATH=.:clients/python/src python -m tests.bench.reporting_cost`.

CPU time of one thread, the least of several rounds, so that other work of the machine hardly shows. The figures for
batches contain the making of their record.
"""

import time
from collections.abc import Callable, Mapping
from itertools import count

from opentelemetry.trace import SpanContext, TraceFlags
from prometheus_client import REGISTRY, generate_latest

from inference_server import names
from inference_server.models.model import ModelCard
from inference_server.reporting import BatchRecord, Reporter
from inference_server.tenant_labels import MOST_LABELS
from observability.telemetry import start_telemetry

_ROUNDS = 7
_SIZE = 32
_WAITS = [place % 13 / 1000 for place in range(_SIZE)]
_UNSAMPLED = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0))
_SAMPLED = SpanContext(1, 3, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def microseconds(work: Callable[[], object], times: int) -> float:
    """Return the CPU time of one call."""
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.thread_time()
        for _ in range(times):
            work()
        best = min(best, time.thread_time() - began)
    return best / times * 1e6


def main() -> None:
    """Measure and print."""
    telemetry = start_telemetry("bench")
    reporter = Reporter(ModelCard("measured", "1", _SIZE, 1), telemetry.tracer)
    spans = [_UNSAMPLED] * _SIZE

    def batch(size: int, tenants: Mapping[str, int], first: SpanContext = _UNSAMPLED) -> Callable[[], None]:
        of_it = [first, *spans[1:size]]
        return lambda: reporter.batch(BatchRecord(0, (3, 96), _WAITS[:size], 0.005, 1, 0, tenants, of_it))

    newcomers = count()
    alone = {"default/1": _SIZE}
    each = {f"default/{number}": 1 for number in range(_SIZE)}
    figures = {
        f"a batch of {_SIZE} items of one tenant, without a span": microseconds(batch(_SIZE, alone), 3000),
        f"a batch of {_SIZE} items of {_SIZE} tenants": microseconds(batch(_SIZE, each), 3000),
        "a batch of one item": microseconds(batch(1, {"default/1": 1}), 3000),
        f"a batch of {_SIZE} items with a span": microseconds(batch(_SIZE, alone, _SAMPLED), 1000),
        "a refusal": microseconds(lambda: reporter.refused("too_late", "default/1"), 10_000),
        "a refusal, each of another tenant": microseconds(
            lambda: reporter.refused("too_late", f"new/{next(newcomers)}"), 10_000
        ),
        "an item that ended without running": microseconds(lambda: reporter.ended(names.EXPIRED, "a", 1), 10_000),
        f"reading the page, for one model with {MOST_LABELS} tenants": microseconds(
            lambda: generate_latest(REGISTRY), 10
        ),
    }
    for what, figure in figures.items():
        print(f"{what:<56}{figure:>10.2f} µs")
    telemetry.close()


if __name__ == "__main__":
    main()
