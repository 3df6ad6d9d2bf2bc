"""Runs every check that needs no running program. `make lint` and `make test` call it.

The checks run side by side, as many as there are processors; each prints one line when it ends, and what it found only
when it failed. All of them run even when one fails; the exit status is 1 then.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from scripts import baseline

_PYTHON_ROOTS = (
    "clients/python/src/candela",
    "deploy",
    "gateway_envoy",
    "inference_server",
    "observability",
    "openapi",
    "scripts",
    "services",
    "supervisor",
    "tests",
)
_OWN_PROTOS = ("protos/public", "protos/internal")


@dataclass(frozen=True)
class Check:
    """One program to run; it passes when it exits with 0."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """How a check ended: its exit status, what it printed and how long it took in seconds."""

    check: Check
    status: int
    output: str
    seconds: float


def checks() -> list[Check]:
    """Returns the checks, the slowest first."""
    roots = [root for root in _PYTHON_ROOTS if Path(root).is_dir()]
    return [
        Check("mypy --strict", _tool("mypy", *roots)),
        Check("import contracts", _tool("lint-imports", "--no-cache")),
        Check("ruff check", _tool("ruff", "check", "--no-fix", *roots)),
        Check("ruff format", _tool("ruff", "format", "--check", "--diff", "--quiet", *roots)),
        Check("buf lint", _tool("buf", "lint")),
        *(Check(f"buf format {path}", _tool("buf", "format", path, "--diff", "--exit-code")) for path in _OWN_PROTOS),
        *(Check(f"buf breaking {path}", baseline.comparison(path)) for path in _OWN_PROTOS),
        Check("vendored protos", [sys.executable, "-m", "scripts.vendor_protos", "--check"]),
    ]


def _tool(name: str, *arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / name), *arguments]


def run(check: Check) -> Outcome:
    """Runs one check to its end."""
    started = time.monotonic()
    environment = {**os.environ, "BUF_CACHE_DIR": str(Path("build/buf-cache").resolve())}
    done = subprocess.run(
        check.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        check=False,
    )
    return Outcome(check, done.returncode, done.stdout.decode(errors="replace"), time.monotonic() - started)


def report(outcome: Outcome, *, colour: bool) -> str:
    """Returns one line for a check that passed, and what it printed as well for one that failed."""
    mark, paint = ("✓", "32") if outcome.status == 0 else ("✗", "31")
    line = f"{mark} {outcome.check.name} ({outcome.seconds:.1f} s)"
    line = f"\033[{paint}m{line}\033[0m" if colour else line
    return line if outcome.status == 0 else f"{line}\n{outcome.output.rstrip()}"


def main() -> int:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    failed = False
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for future in as_completed([pool.submit(run, check) for check in checks()]):
            outcome = future.result()
            failed = failed or outcome.status != 0
            print(report(outcome, colour=colour), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
