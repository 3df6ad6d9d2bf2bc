"""`make top` on a running mesh: plain without a terminal, live in one, and quiet when a person leaves."""

import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.edge import Edge
from tests.support.mesh import Mesh

_ROOT = Path(__file__).parents[2]
_SECONDS = 30.0


def environment(data: Path, **more: str) -> dict[str, str]:
    return {"CANDELA_DATA_DIR": str(data), "PATH": os.environ["PATH"], "PYTHONUTF8": "1", **more}


def plain(data: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supervisor", "top", *arguments]
    return subprocess.run(
        command, cwd=_ROOT, env=environment(data, **more), capture_output=True, text=True, check=False, timeout=_SECONDS
    )


def test_without_a_terminal_it_prints_once_and_ends(mesh: Mesh) -> None:
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        edge.call("GET", "/v1/users/me")
    done = plain(mesh.data.root)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    for shown in ("ready", "user", "recognition", "inference", "envoy", "redis", "ppocr-rec", "POST", "/v1/users"):
        assert shown in done.stdout


def models(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supervisor", "models", *arguments]
    env = environment(data, PYTHONPATH=f"{_ROOT}:{_ROOT / 'clients/python/src'}")
    return subprocess.run(command, cwd=_ROOT, env=env, capture_output=True, text=True, check=False, timeout=_SECONDS)


def test_the_models_are_printed_with_what_their_batches_cost(mesh: Mesh) -> None:
    done = models(mesh.data.root)
    assert (done.returncode, done.stderr) == (0, "")
    [row] = [line for line in done.stdout.splitlines() if "ppocr-rec@" in line and "recognize-text" in line]
    assert "● ready" in row
    assert "what batches of ppocr-rec@" in done.stdout
    one = models(mesh.data.root, "ppocr-rec")
    assert "gives" in one.stdout
    assert "ppocr-det" not in one.stdout
    told = json.loads(models(mesh.data.root, "--json").stdout)["inference"]
    assert {model["state"] for model in told["models"]} == {"MODEL_STATE_READY"}
    assert {f"{model['name']}@{model['version']}" for model in told["models"]} == set(told["statistics"])
    assert models(mesh.data.root, "--unload", "nonsense").returncode == 1


def test_it_says_when_no_mesh_runs(tmp_path: Path) -> None:
    for arguments in ((), ("--once",)):
        done = plain(tmp_path, *arguments)
        assert done.returncode == 1
        assert done.stdout.startswith(f"○ no mesh runs on {tmp_path}")


class Screen:
    """`make top` in a terminal of 100 columns."""

    def __init__(self, data: Path, **more: str) -> None:
        self._master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        termios.tcsetwinsize(self.slave, (40, 100))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", "top"],
            cwd=_ROOT, env=environment(data, TERM="xterm", **more),
            stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
        )  # fmt: skip
        self.shown = ""

    def wait_for(self, text: str, times: int = 1) -> None:
        end = time.monotonic() + _SECONDS
        while self.shown.count(text) < times:
            assert time.monotonic() < end, self.shown
            if select.select([self._master], [], [], 0.1)[0]:
                self.shown += os.read(self._master, 65536).decode(errors="replace")

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def end(self) -> int:
        """Waits for the end while reading on: nobody ends who cannot finish to write."""
        end = time.monotonic() + _SECONDS
        while self.process.poll() is None and time.monotonic() < end:
            if select.select([self._master], [], [], 0.1)[0]:
                self.shown += os.read(self._master, 65536).decode(errors="replace")
        return self.process.wait(1)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self.slave)


@pytest.fixture
def screen(mesh: Mesh) -> Iterator[Screen]:
    running = Screen(mesh.data.root)
    try:
        yield running
    finally:
        running.close()


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_a_person_leaves_quietly(screen: Screen, key: bytes) -> None:
    screen.wait_for("sort the edge by")
    assert "\x1b[?1049h" in screen.shown  # a screen of its own, which is given back
    screen.press(key)
    assert screen.end() == 0
    assert "\x1b[?1049l" in screen.shown
    assert "Traceback" not in screen.shown
    assert termios.tcgetattr(screen.slave) == screen.before


def test_it_is_drawn_again_each_second_and_sorts(screen: Screen) -> None:
    screen.wait_for("sort the edge by", times=3)
    screen.press(b"s")
    screen.wait_for("\x1b[1m p99")


def test_no_color_means_no_colours(mesh: Mesh) -> None:
    running = Screen(mesh.data.root, NO_COLOR="1")
    try:
        running.wait_for("sort the edge by")
        assert "\x1b[32m" not in running.shown
        assert "\x1b[36m" not in running.shown
    finally:
        running.close()
