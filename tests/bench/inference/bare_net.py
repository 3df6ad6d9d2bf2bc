"""The net of workload B without a server: `python -m tests.bench.inference.bare_net SECONDS SIZE …`.

Prints the items a second at the best size, the milliseconds of a batch and the µs of CPU an item there.
"""

import sys
import time

from inference_server.memory import tune_allocator
from tests.bench.inference.peer_servers import item
from tests.bench.inference.works import WORKLOADS, Run, make_run


def measure(run: Run, size: int, seconds: float) -> tuple[float, float, float]:
    """Return items a second, milliseconds a batch and µs of CPU an item."""
    batch = [item(WORKLOADS["conv"])] * size
    run(batch)
    cpu, begun, batches = time.process_time(), time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        run(batch)
        batches += 1
    taken, spent = time.perf_counter() - begun, time.process_time() - cpu
    return batches * size / taken, taken / batches * 1e3, spent / (batches * size) * 1e6


if __name__ == "__main__":
    tune_allocator()
    net = make_run(WORKLOADS["conv"])
    print(*max(measure(net, int(size), float(sys.argv[1])) for size in sys.argv[2:]))
