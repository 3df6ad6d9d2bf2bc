"""Processes die with whoever supervises them, however that ends."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.eventually import eventually_sync

_LEASH = Path(__file__).parents[3] / "supervisor" / "leash.py"
_SUPERVISOR = f"""
import asyncio, os, sys
async def main():
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", {str(_LEASH)!r}, str(os.getpid()), "/bin/sleep", "1000", start_new_session=True
        )
        for _ in range(3)
    ]
    print(*(child.pid for child in children), flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


def _is_sleeping(pid: int) -> bool:
    return b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_no_process_outlives_a_supervisor_that_is_killed(is_running: Callable[[int], bool]) -> None:
    with subprocess.Popen([sys.executable, "-c", _SUPERVISOR], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(word) for word in supervisor.stdout.readline().split()]
        assert len(pids) == 3
        eventually_sync(lambda: all(_is_sleeping(pid) for pid in pids))
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
        eventually_sync(lambda: not any(is_running(pid) for pid in pids))


def test_a_child_whose_supervisor_is_gone_already_does_not_start() -> None:
    command = [sys.executable, "-I", "-S", str(_LEASH), "1", "/bin/echo", "started"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (1, "")
