"""How wrong passwords are bounded.

An attempt is counted *before* its password is looked at, so that a hundred guesses sent at once are bounded like a
hundred sent in a row. The right password clears the count; a crash in between leaves the attempt counted as wrong.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.kit.errors import ResourceExhausted


@dataclass(frozen=True, slots=True)
class ThrottleRules:
    """`free` wrong passwords in a row cost nothing; then waits double from `first` to `longest`.

    `forget` is how long after its last attempt an account's count is dropped; `unknown_kept` is how many counts of
    identifiers that name no account are kept at most, the youngest ones.
    """

    free: int = 5
    first: timedelta = timedelta(seconds=30)
    longest: timedelta = timedelta(minutes=15)
    forget: timedelta = timedelta(hours=24)
    unknown_kept: int = 100_000

    def wait(self, failures: int) -> timedelta:
        """Return how long log-ins are closed after so many wrong passwords in a row."""
        if failures < self.free:
            return timedelta(0)
        doublings = min(failures - self.free, 20)  # beyond any sensible longest wait, short of overflowing
        return min(self.first * (1 << doublings), self.longest)


@dataclass(frozen=True, slots=True)
class Throttle:
    """The count of one account, or of one identifier that names none (`known` is False).

    `noted` says whether the audit log has the current closed time already: one entry each, however often it is hit.
    """

    tenant: str
    key: str
    known: bool
    failures: int
    last_time: datetime
    closed_until: datetime | None = None
    noted: bool = False

    def remaining(self, now: datetime) -> timedelta:
        """Return how long log-ins stay closed, zero when they are open."""
        return max(timedelta(0), self.closed_until - now) if self.closed_until else timedelta(0)

    def counted(self, now: datetime, rules: ThrottleRules) -> "Throttle":
        """Return the count with one more attempt, begun at `now`."""
        failures = 1 if now - self.last_time > rules.forget else self.failures + 1
        wait = rules.wait(failures)
        return replace(self, failures=failures, last_time=now, closed_until=now + wait if wait else None, noted=False)


def fresh(tenant: str, key: str, now: datetime, *, known: bool) -> Throttle:
    """Return the count of somebody who never failed."""
    return Throttle(tenant=tenant, key=key, known=known, failures=0, last_time=now)


def closed(remaining: timedelta) -> ResourceExhausted:
    """Return the error for an attempt while log-ins are closed."""
    seconds = max(1, round(remaining.total_seconds()))
    return ResourceExhausted(
        f"too many wrong passwords; try again in {seconds} s",
        reason="LOGIN_THROTTLED",
        metadata={"seconds": str(seconds)},
        retry_after=remaining.total_seconds(),
    )
