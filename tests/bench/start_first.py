"""How long the first `make run` takes: from a fresh clone, with the package cache warm, until the mesh is ready.

The repository is cloned into an empty directory, and `make run` makes the virtual environment, installs the pinned
packages, generates code and starts the mesh. The clone counts. What is not committed is not in it. The package cache is
that of whoever runs the bench: a first run ever downloads as well.
"""

import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from supervisor.ports import find_free_base
from tests.bench.figures import Figure, Outcome

_REPOSITORY = Path(__file__).parents[2]
_LIMIT_SECONDS = 240.0
_PATIENCE_SECONDS = 540.0
_FIRST_BASE = 36080
_READY = re.compile(r"^Ready in ", re.MULTILINE)


class NotReadyError(Exception):
    """`make run` ended, or took too long; the message holds what it printed last."""


def bench() -> Outcome:
    """Clone, run, wait, stop."""
    with tempfile.TemporaryDirectory(prefix="candela-bench-") as folder:
        clone, output = Path(folder) / "candela", Path(folder) / "output"
        begun = time.monotonic()
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", _REPOSITORY, clone], check=True)  # noqa: S607 - whichever git the person uses
        cloned = time.monotonic() - begun
        process = _make_run(clone, output)
        try:
            _wait_until_ready(process, output)
            seconds = time.monotonic() - begun
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=60)
        said = output.read_text(encoding="utf-8").replace(folder, "…").splitlines()
    details = (
        f"git clone {cloned:.1f} s",
        *said[: next(i for i, line in enumerate(said) if line.startswith("Ready")) + 1],
    )
    return Outcome((Figure("make run from a fresh clone to ready", "s", (seconds,), at_most=_LIMIT_SECONDS),), details)


def _make_run(clone: Path, output: Path) -> subprocess.Popen[bytes]:
    given = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    with output.open("wb") as out:
        return subprocess.Popen(
            ["make", "run"],  # noqa: S607 - whichever make the person uses
            cwd=clone,
            env={**given, **pip, "CANDELA_PORT_BASE": str(find_free_base(_FIRST_BASE)), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_until_ready(process: subprocess.Popen[bytes], output: Path) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while not _READY.search(output.read_text(encoding="utf-8")):
        if process.poll() is not None or time.monotonic() > end:
            raise NotReadyError("make run is not ready: " + output.read_text(encoding="utf-8")[-2000:])
        time.sleep(0.1)
