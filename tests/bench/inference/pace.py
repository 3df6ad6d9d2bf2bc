"""How long the benches of the inference server take: as the bars want it, or quickly to see that everything works."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """So many runs of each server, and so many seconds of load in each."""

    rounds: int
    seconds: float
    warm_up: float

    @classmethod
    def chosen(cls) -> "Pace":
        """Return the pace that `make bench QUICK=1` asks for, or the usual one."""
        return cls(1, 1.5, 0.5) if os.environ.get("CANDELA_BENCH_QUICK") else cls(5, 3.0, 1.0)
