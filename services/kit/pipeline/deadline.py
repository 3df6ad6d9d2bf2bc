"""Stage 6: how long a call may take: the caller's deadline, and ours where the caller gave none or a later one."""

from dataclasses import dataclass

from services.kit.errors import DeadlineExceeded
from services.kit.pipeline.methods import MethodInfo


@dataclass(frozen=True, slots=True)
class Limits:
    """The longest a call may take, in seconds: with one reply, and with a stream of them."""

    unary_seconds: float = 60.0
    stream_seconds: float = 3600.0


def time_allowed(info: MethodInfo, remaining: float | None, limits: Limits) -> float:
    """Return the seconds that a call has; `remaining` is what the caller's deadline leaves, None without one.

    Raises DeadlineExceeded when none are left: nobody waits for the answer any more.
    """
    limit = limits.stream_seconds if info.response_streaming else limits.unary_seconds
    if remaining is None:
        return limit
    if remaining <= 0:
        raise too_late()
    return min(remaining, limit)


def too_late() -> DeadlineExceeded:
    """Return the error of a call whose time ran out."""
    return DeadlineExceeded("the call's deadline passed")
