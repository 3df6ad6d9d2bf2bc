"""Time as a dependency: services read a clock they were given, tests give one they can turn."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Two readings of time: wall time for what is stored, monotonic seconds for what is waited for."""

    def now(self) -> datetime:
        """Return the current wall time, always timezone-aware and in UTC."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes backwards."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to, for tests and simulations."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, by: timedelta | float) -> None:
        """Move both readings forward by a timedelta or by seconds; negative steps are refused."""
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if step < timedelta(0):
            raise ValueError("a clock does not go backwards")
        self._now += step
        self._monotonic += step.total_seconds()
