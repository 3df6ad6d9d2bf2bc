"""When a process that died starts again: at once the first time, later and later when it keeps dying."""

from collections import deque
from dataclasses import dataclass

from services.kit.clock import Clock

# Seconds before the n-th start after failures in a row; the last one repeats.
_DELAYS = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
_STEADY_SECONDS = 10.0
_WINDOW_SECONDS = 60.0
_MANY = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from one failure."""

    delay: float
    """Seconds to wait before the next start."""
    failures_in_window: int
    report: bool
    """True once per burst of more than five failures in a minute."""


class RestartPolicy:
    """Counts the failures of one process. A process that was healthy for ten seconds starts with a clean slate."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_a_row = 0
        self._recent: deque[float] = deque()
        self._reported = False
        self._ready_since: float | None = None

    def ready(self) -> None:
        """Note that the process became healthy."""
        self._ready_since = self._clock.monotonic()

    def failed(self) -> Verdict:
        """Note that the process died, or never became healthy, and decide what follows."""
        now = self._clock.monotonic()
        if self._ready_since is not None and now - self._ready_since >= _STEADY_SECONDS:
            self._in_a_row = 0
        self._ready_since = None
        self._recent.append(now)
        while now - self._recent[0] > _WINDOW_SECONDS:
            self._recent.popleft()
        many = len(self._recent) > _MANY
        report = many and not self._reported
        self._reported = many
        delay = _DELAYS[min(self._in_a_row, len(_DELAYS) - 1)]
        self._in_a_row += 1
        return Verdict(delay=delay, failures_in_window=len(self._recent), report=report)
