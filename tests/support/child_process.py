"""Servers that tests start: gone when the tests are, even when those are killed."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

_PR_SET_PDEATHSIG = 1
_STEP = 0.02


class Identity(TypedDict, total=False):
    """As whom a process runs, when not as ourselves."""

    user: int
    group: int


def start(
    command: Sequence[str | Path], *, folder: Path, log: Path, identity: Identity, parent_gone: signal.Signals
) -> subprocess.Popen[bytes]:
    """Start a server in `folder` with its output in `log`; it gets `parent_gone` when the tests die (on Linux)."""
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        if sys.platform == "linux":
            libc.prctl(_PR_SET_PDEATHSIG, parent_gone)

    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,  # a Ctrl-C is for the tests, which then stop the server
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock is taken
            **identity,
        )


def exited_within(process: subprocess.Popen[bytes], seconds: float = _STEP) -> bool:
    """Wait a moment for the process to end; for loops that wait for something else and must notice a death."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


def stop(process: subprocess.Popen[bytes], signals: Sequence[signal.Signals], seconds: float = 15.0) -> None:
    """Send one signal after the other until the process has ended, and reap it."""
    for wanted in (*signals, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(wanted)
        if exited_within(process, seconds):
            return
