"""What the bench tells the process of a peer, through its environment."""

import os
from pathlib import Path

from tests.bench.inference.works import WORKLOADS, Run, Workload, counted, make_run

PORT = int(os.environ.get("CANDELA_BENCH_PORT", "0"))
WORKLOAD: Workload = WORKLOADS[os.environ.get("CANDELA_BENCH_WORKLOAD", "noop")]
# How long a caller waits, for servers that can be told; 0 when nobody minds.
DEADLINE = float(os.environ.get("CANDELA_BENCH_DEADLINE", "0"))


def ordered_run() -> Run:
    """Return the workload's model, counting what it executes."""
    return counted(make_run(WORKLOAD), Path(os.environ["CANDELA_BENCH_COUNTS"]))
