"""How long a stream goes on, and when its other side is taken for dead."""

from services.kit.exchange.options import MISSED_HEARTBEATS

# Service tokens are renewed a minute before their end, so the next stream has a fresh one; half a minute is for the
# calls that are under way on this one.
_BEFORE_END_SECONDS = 30.0


def seconds_of_stream(now: float, holds_until: float | None, longest: float) -> float:
    """Return after how many seconds a stream asks its caller to open another.

    `now` and `holds_until`, the end of its token, are in Unix seconds; a token that ends soon gives half of its rest.
    """
    if holds_until is None:
        return longest
    left = max(0.0, holds_until - now)
    return min(longest, max(left - _BEFORE_END_SECONDS, left / 2))


class Pulse:
    """When something was last sent and heard on a stream. Times are seconds of the loop's clock."""

    __slots__ = ("_interval", "_theirs", "heard", "sent")

    def __init__(self, interval: float, now: float) -> None:
        """Show life every `interval` seconds, and expect the same of the other side until it says otherwise."""
        self._interval = interval
        self._theirs = interval
        self.heard = now
        self.sent = now

    def told(self, interval: float) -> None:
        """Learn the other side's interval; a sender of nonsense is believed a day at most."""
        if interval > 0:
            self._theirs = min(interval, 86400.0)

    def is_due(self, now: float) -> bool:
        """Say whether a heartbeat must be sent by the next look, which comes within half an interval."""
        return now - self.sent >= self._interval / 2

    def is_dead(self, now: float) -> bool:
        """Say whether three heartbeats of the other side were missed."""
        return now - self.heard > MISSED_HEARTBEATS * self._theirs
