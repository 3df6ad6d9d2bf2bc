"""`python -m supervisor top`: the running mesh, live in the terminal."""

import contextlib
import os
import select
import sys
import termios
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise

from rich.console import Console, RenderableType
from rich.live import Live

from supervisor.datadir import DataDir
from supervisor.top_figures import Window, gateways
from supervisor.top_pages import Snapshot, take
from supervisor.top_view import SORTS, Look, view, waiting

_INTERVAL = 1.0
_WINDOW_SECONDS = 10.0
_HISTORY = 60
_PLAIN_WIDTH = 120
_CTRL_C, _CTRL_D, _ESCAPE = "\x03", "\x04", "\x1b"
KeyWithin = Callable[[float], str]
"""Waits so many seconds for a key and returns it, or nothing."""


def show_top(data: DataDir, *, once: bool) -> int:
    """Show the mesh until a person leaves; once and plainly when asked so, or when nobody sits at a terminal.

    Returns 1 when no mesh runs at the beginning, otherwise 0.
    """
    plain = once or not sys.stdout.isatty() or os.environ.get("TERM") in {"dumb", "", None}
    # Without a terminal there is no width to keep to, unless somebody set COLUMNS.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PLAIN_WIDTH
    console = Console(highlight=False, width=width)
    first = take(data)
    if first is None:
        console.print(waiting(str(data.root)), soft_wrap=True)
        return 1
    if plain:
        console.print(view(Window(first), Look(console.width, None, SORTS[0], (), live=False)))
        return 0
    _Live(data, console, first).run()
    return 0


class _Live:
    """The screen that is drawn anew each second."""

    def __init__(self, data: DataDir, console: Console, first: Snapshot) -> None:
        self._data = data
        self._console = console
        self._seen = deque([first])
        self._history: deque[float] = deque(maxlen=_HISTORY)
        self._sort = 0

    def run(self) -> None:
        """Draw until a person presses q or Ctrl-C."""
        with _keys() as key_within, Live(console=self._console, screen=True, auto_refresh=False) as live:
            while True:
                began = time.monotonic()
                live.update(self._drawn(), refresh=True)
                while (left := began + _INTERVAL - time.monotonic()) > 0:
                    key = key_within(left)
                    if key in {"q", _CTRL_C, _CTRL_D, _ESCAPE}:
                        return
                    if key == "s":
                        self._sort = (self._sort + 1) % len(SORTS)
                        live.update(self._drawn(), refresh=True)
                self._look()

    def _look(self) -> None:
        snapshot = take(self._data)
        if snapshot is None or (self._seen and snapshot.status.pid != self._seen[-1].status.pid):
            self._seen.clear()
        if snapshot is None:
            return
        self._seen.append(snapshot)
        while snapshot.at - self._seen[0].at > _WINDOW_SECONDS + _INTERVAL / 2:
            self._seen.popleft()
        for old, new in list(pairwise(self._seen))[-1:]:
            self._history.append(Window(new, old).edge(gateways(new)).rate)

    def _drawn(self) -> RenderableType:
        if not self._seen:
            return waiting(str(self._data.root))
        old = self._seen[0] if len(self._seen) > 1 else None
        size = self._console.size
        look = Look(size.width, size.height, SORTS[self._sort], tuple(self._history), live=True)
        return view(Window(self._seen[-1], old), look)


def _no_keys(seconds: float) -> str:
    time.sleep(seconds)
    return ""


@contextlib.contextmanager
def _keys() -> Iterator[KeyWithin]:
    """Give a function that waits so many seconds for a key; keys come at once and Ctrl-C is one of them.

    As a signal it would also reach make, which has nothing to say about it.
    """
    file = sys.stdin.fileno()
    if not sys.stdin.isatty():
        yield _no_keys
        return
    before = termios.tcgetattr(file)
    raw = termios.tcgetattr(file)
    raw[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
    termios.tcsetattr(file, termios.TCSADRAIN, raw)

    def key_within(seconds: float) -> str:
        ready, _, _ = select.select([file], [], [], seconds)
        return os.read(file, 64).decode(errors="replace")[:1] if ready else ""

    try:
        yield key_within
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
