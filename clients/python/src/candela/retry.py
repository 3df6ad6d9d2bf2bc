"""When a call is sent again, and after which pause."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from candela.errors import CandelaError, Unavailable


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Repeats what can be repeated.

    Only Unavailable is worth another try, and only calls that do no more when they arrive twice. At most `attempts`
    are made, all within the call's one timeout. Pauses are chosen at random between nothing and a bound that starts at
    `first_pause`, doubles, and ends at `longest_pause` (seconds); a server that names a time is given that time.
    """

    attempts: int = 5
    first_pause: float = 0.1
    longest_pause: float = 2.0
    chance: Callable[[], float] = random.random

    def pause(self, error: CandelaError, attempt: int, remaining: float | None) -> float | None:
        """Returns how many seconds to wait after `attempt` (from 1), None to give up.

        `remaining` is what is left of the call's timeout in seconds, None without one.
        """
        if not isinstance(error, Unavailable) or attempt >= self.attempts:
            return None
        bound = min(self.longest_pause, self.first_pause * 2 ** (attempt - 1))
        pause = max(self.chance() * bound, error.retry_after or 0.0)
        return None if remaining is not None and pause >= remaining else pause
