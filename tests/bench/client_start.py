"""How long a program waits for the Python client: importing it, making a Client, and its first method.

Each value is taken in a new process, from before the first import until the method is there to be called; nothing is
sent. The start of Python itself is not counted.
"""

import subprocess
import sys

from tests.bench.figures import Figure, Outcome

_RUNS = 15
_LIMIT_SECONDS = 0.3
_PROGRAM = """
import time
begun = time.perf_counter()
import candela
imported = time.perf_counter()
candela.{kind}("localhost:1").documents.recognize
print(imported - begun, time.perf_counter() - begun)
"""


def bench() -> Outcome:
    """Start both clients in fresh processes."""
    runs = {kind: [_taken(kind) for _ in range(_RUNS)] for kind in ("Client", "AsyncClient")}
    ready = (
        Figure(f"{kind}, ready to call", "s", tuple(one for _, one in taken), at_most=_LIMIT_SECONDS)
        for kind, taken in runs.items()
    )
    imported = tuple(one for one, _ in runs["Client"])
    return Outcome((*ready, Figure("import candela", "s", imported, digits=4)))


def _taken(kind: str) -> tuple[float, float]:
    command = [sys.executable, "-c", _PROGRAM.format(kind=kind)]
    imported, ready = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(imported), float(ready)
