"""Which warnings reach the terminal: a process that logs a thousand a second must not bury everything else."""

from collections import OrderedDict, deque
from enum import Enum

from services.kit.clock import Clock

_PER_PERIOD = 5
_PERIOD_SECONDS = 10.0
_SAME_SECONDS = 60.0
_REMEMBERED = 200


class Verdict(Enum):
    """What to do with one warning."""

    SHOW = "show"
    LAST = "last"
    """One too many: say once that there are more."""
    DROP = "drop"


class Quiet:
    """Lets five warnings of a process through in ten seconds, and the same one once in a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recent: dict[str, deque[float]] = {}
        self._same: OrderedDict[tuple[str, str], float] = OrderedDict()

    def judge(self, process: str, text: str) -> Verdict:
        """Decide about a warning of a process."""
        now = self._clock.monotonic()
        last = self._same.get((process, text))
        if last is not None and now - last < _SAME_SECONDS:
            return Verdict.DROP
        recent = self._recent.setdefault(process, deque())
        while recent and now - recent[0] >= _PERIOD_SECONDS:
            recent.popleft()
        if len(recent) > _PER_PERIOD:
            return Verdict.DROP
        recent.append(now)
        if len(recent) > _PER_PERIOD:
            return Verdict.LAST
        self._same[process, text] = now
        self._same.move_to_end((process, text))
        if len(self._same) > _REMEMBERED:
            self._same.popitem(last=False)
        return Verdict.SHOW
