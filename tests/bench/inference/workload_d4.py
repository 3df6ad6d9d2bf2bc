"""Workload D with four times the capacity instead of twice; everything else is as in `inference-d`."""

from tests.bench.figures import Outcome
from tests.bench.inference import workload_d

_TIMES = 4.0


def bench() -> Outcome:
    """Measure our two doors and every peer under four times the capacity."""
    return workload_d.bench(_TIMES)
