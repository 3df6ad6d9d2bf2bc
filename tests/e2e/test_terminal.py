"""The supervisor in a real terminal: Ctrl-C, a second one, and a window that is closed."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from supervisor.ports import find_free_base
from tests.support.binaries import requires_binary
from tests.support.eventually import eventually_sync

pytestmark = [requires_binary("envoy"), requires_binary("redis-server"), pytest.mark.timeout(120)]

_ROOT = Path(__file__).parents[2]
_SECONDS = 60.0


class Terminal:
    """A terminal in which the supervisor runs in the foreground, as under `make run`."""

    def __init__(self, folder: Path) -> None:
        base = find_free_base(40080 + os.getpid() % 100 * 40)
        given = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        # No HOME: nothing of a mesh may need one. No models: how it ends is the same, and it is there sooner.
        settings = {"CANDELA_DATA_DIR": str(folder / "data"), "CANDELA_PORT_BASE": str(base), "TERM": "xterm"}
        self._master, slave = pty.openpty()
        self.supervisor = subprocess.Popen(
            [sys.executable, "-c", _IN_TERMINAL, sys.executable, "-m", "supervisor", "run"],
            cwd=_ROOT,
            env={**given, **settings, "CANDELA_INFERENCE_MODELS": " "},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Read what is shown until it holds `text`."""
        end = time.monotonic() + _SECONDS
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            ready, _, _ = select.select([self._master], [], [], 0.1)
            if ready:
                self.shown += self._read()

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def close(self) -> None:
        """Close the window."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def end(self) -> int:
        """Wait for the end; return the exit status."""
        status = self.supervisor.wait(_SECONDS)
        if self._master >= 0:
            self.shown += self._read()
        return status

    def family(self) -> list[psutil.Process]:
        own = psutil.Process(self.supervisor.pid)
        return [own, *own.children(recursive=True)]

    def _read(self) -> str:
        try:
            return os.read(self._master, 65536).decode(errors="replace")
        except OSError:  # nobody holds the other end any more
            return ""


# Makes its standard input the session's controlling terminal, which then sends the signals, and becomes the program.
_IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    running = Terminal(tmp_path)
    try:
        yield running
    finally:
        if running.supervisor.poll() is None:
            running.supervisor.kill()
            running.supervisor.wait()
        running.close()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_ctrl_c_stops_everything_and_says_so(terminal: Terminal) -> None:
    terminal.wait_for("Ctrl-C stops everything")
    processes = terminal.family()
    assert len(processes) >= 6
    terminal.press_ctrl_c()
    assert terminal.end() == 0
    assert terminal.shown.rstrip().endswith("Stopped.")
    assert "Traceback" not in terminal.shown
    assert gone(processes)


@pytest.mark.long
def test_a_second_ctrl_c_does_not_wait(terminal: Terminal) -> None:
    terminal.wait_for("Ctrl-C stops everything")
    processes = terminal.family()
    [redis] = [process for process in processes if process.name() == "redis-server"]
    redis.send_signal(signal.SIGSTOP)  # it would have 12 seconds
    terminal.press_ctrl_c()
    terminal.wait_for("stopping redis")
    began = time.monotonic()
    terminal.press_ctrl_c()
    assert terminal.end() == 0
    assert time.monotonic() - began < 6
    assert gone(processes)


def test_ctrl_c_while_it_starts(terminal: Terminal) -> None:
    terminal.wait_for("build the gateway's configuration")
    processes = terminal.family()
    terminal.press_ctrl_c()
    assert terminal.end() == 0
    assert "Traceback" not in terminal.shown
    assert gone(processes)


@pytest.mark.long
def test_closing_the_window_stops_everything(terminal: Terminal) -> None:
    terminal.wait_for("Ctrl-C stops everything")
    processes = terminal.family()
    terminal.close()
    assert terminal.end() == 0
    eventually_sync(lambda: gone(processes), timeout=_SECONDS)
