"""`python -m tests.bench [NAME …]`: measures what the project promises and says whether it holds.

Each bench runs in a process of its own, so that none finds the memory or the threads of another. Records are kept in
build/bench/, and docs/benchmarks.md is made from all of them. Exit status 0 when every bench ended and no bar was
missed.
"""

import argparse
import importlib
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from inspect import cleandoc
from pathlib import Path

from tests.bench.document import document, show
from tests.bench.figures import Outcome, Record
from tests.bench.machine import commit, facts, load_average

_REPOSITORY = Path(__file__).parents[2]
_RECORDS = _REPOSITORY / "build" / "bench"
_DOCUMENT = _REPOSITORY / "docs" / "benchmarks.md"
# Bench → its module, whose `bench()` measures and whose docstring says how. The order is that of the document.
_BENCHES = {
    "start": "tests.bench.start",
    "start-first": "tests.bench.start_first",
    "memory": "tests.bench.memory",
    "reading": "tests.bench.reading",
    "gateway": "tests.bench.gateway_mesh",
    "gateway-alone": "tests.bench.gateway_overhead",
    "recovery": "tests.bench.recovery",
    "replicas": "tests.bench.replicas",
    "pipeline": "tests.bench.pipeline_cost",
    "exchange": "tests.bench.exchange_cost",
    "writes": "tests.bench.writes",
    "client": "tests.bench.client_start",
    "settings": "tests.bench.settings",
    "inference-a": "tests.bench.inference.workload_a",
    "inference-b": "tests.bench.inference.workload_b",
    "inference-c": "tests.bench.inference.workload_c",
    "inference-d": "tests.bench.inference.workload_d",
    "inference-d4": "tests.bench.inference.workload_d4",
    "inference-shapes": "tests.bench.inference.shapes",
    "inference-fairness": "tests.bench.inference.fairness",
    "inference-reload": "tests.bench.inference.reload",
    "inference-withdrawn": "tests.bench.inference.withdrawn",
}
# Installs a virtual environment: too slow for every run.
_ONLY_WHEN_NAMED = frozenset({"start-first"})
_LIMIT_SECONDS = 1200.0


def main(arguments: Sequence[str]) -> int:
    """Run the benches that are named, or all that are quick, and write the document."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which of: {', '.join(_BENCHES)}")
    parser.add_argument("--here", action="store_true", help="run one bench in this process and keep its record")
    options = parser.parse_args(arguments)
    names = [name for given in options.names for name in given.replace(",", " ").split()]
    if unknown := set(names) - set(_BENCHES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(_BENCHES)}")
    signal.signal(signal.SIGTERM, _end)
    if options.here:
        return _here(names[0])
    for name, fact in facts():
        print(f"{name}: {fact}")
    print(f"Load average: {load_average():.2f}\n", flush=True)
    return _run(names or [name for name in _BENCHES if name not in _ONLY_WHEN_NAMED])


def _run(names: Sequence[str]) -> int:
    good = True
    for name in names:
        (_RECORDS / f"{name}.json").unlink(missing_ok=True)
        _apart(name)
        record = _read(name)
        print(show(record) if record else f"── {name} ── ended without a record\n", flush=True)
        good = good and record is not None and record.met
    _DOCUMENT.write_text(document([record for record in map(_read, _BENCHES) if record]), encoding="utf-8")
    print(f"{_DOCUMENT.relative_to(_REPOSITORY)} is up to date")
    return 0 if good else 1


def _apart(name: str) -> None:
    """Run one bench in a process of its own; one that takes too long, or is not wanted any more, cleans up first."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench", "--here", name], cwd=_REPOSITORY)
    try:
        process.wait(_LIMIT_SECONDS)
    except BaseException as error:
        process.terminate()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def _end(*_: object) -> None:
    """End in order when told to: a mesh that was started is stopped on the way out."""
    sys.exit(1)


def _here(name: str) -> int:
    """Measure in this process and keep the record, also of a bench that fails."""
    load, began, begun = load_average(), datetime.now(UTC), time.monotonic()
    failure, how, outcome = "", "", Outcome(())
    try:
        module = importlib.import_module(_BENCHES[name])
        how = cleandoc(module.__doc__ or "")
        bench: Callable[[], Outcome] = module.bench
        outcome = bench()
    except Exception as error:  # noqa: BLE001 - whatever went wrong belongs into the record
        traceback.print_exc()
        failure = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    record = Record(
        name=name,
        how=how,
        outcome=outcome,
        began=f"{began:%Y-%m-%d %H:%M} UTC",
        seconds=time.monotonic() - begun,
        load_before=load,
        commit=commit(),
        failure=failure,
    )
    _RECORDS.mkdir(parents=True, exist_ok=True)
    (_RECORDS / f"{name}.json").write_text(record.to_json(), encoding="utf-8")
    return 0 if record.met else 1


def _read(name: str) -> Record | None:
    try:
        return Record.from_json((_RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
