"""How long a second start takes: the supervisor on a data directory that was used before.

From starting the supervisor's process until it says that the mesh is ready: every process answers its health check and
the edge answers as a client sees it. The first start of the directory (keys, migrations) comes before and is shown.
The processes' own times are those that the supervisor printed, from each process's start until it was healthy.
"""

import re
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.figures import Figure, Outcome, table
from tests.support.mesh import Mesh

_RUNS = 5
_LIMIT_SECONDS = 10.0
_READY = re.compile(r"✔ (\S+) .* ([0-9.]+) s")


def bench() -> Outcome:
    """Start once on an empty directory and five times on what that left."""
    taken: list[float] = []
    parts: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="candela-bench-") as folder:
        for _ in range(1 + _RUNS):
            begun = time.monotonic()
            with Mesh.started(Path(folder)) as mesh:
                taken.append(time.monotonic() - begun)
                for name, seconds in _READY.findall(mesh.account()):
                    parts.setdefault(name, []).append(float(seconds))
    first, *later = taken
    rows = [("process", "median", "largest")]
    rows += [(name, f"{statistics.median(all_):.1f} s", f"{max(all_):.1f} s") for name, all_ in parts.items()]
    figures = (
        Figure("second start to ready", "s", tuple(later), at_most=_LIMIT_SECONDS),
        Figure("first start to ready, packages installed", "s", (first,)),
    )
    return Outcome(figures, tuple(table(rows)))
