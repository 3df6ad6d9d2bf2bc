"""What open load saw: which answers came in time, which requests were refused and how fast, what was work in vain.

Every latency counts from the moment at which the request was due, not from when the client got around to sending it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "refused", "late", "failed", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Fate:
    """One request: when it was due (seconds from the start), how long until it ended, and how."""

    due: float
    taken: float
    outcome: Outcome

    @property
    def ended(self) -> float:
        return self.due + self.taken


@dataclass(frozen=True, slots=True)
class Overload:
    """One run of quiet, overload, quiet again."""

    goodput: float
    """Answers in time per second of overload, from one second into it until its end."""
    wasted: float
    """Items executed that no caller had any use of, as a part of those executed during overload, 0 to 1."""
    refusals: tuple[float, ...]
    """Seconds until each refusal, over the whole run."""
    recovery: float
    """Seconds from the end of overload until the first request is due after which all are answered in time."""
    failed: int
    """Requests that ended in another error than a refusal."""


def in_time(fate: Fate, deadline: float) -> bool:
    """Say whether a request was answered within its deadline."""
    return fate.outcome == "ok" and fate.taken <= deadline


def goodput(fates: Sequence[Fate], deadline: float, begin: float, end: float) -> float:
    """Return the answers in time that came from `begin` to `end`, per second."""
    good = sum(1 for fate in fates if in_time(fate, deadline) and begin <= fate.ended < end)
    return good / (end - begin)


def recovery(fates: Sequence[Fate], deadline: float, end: float) -> float:
    """Return how long after `end` the last request was due that was not answered in time; 0 when all were."""
    bad = [fate.due - end for fate in fates if fate.due >= end and not in_time(fate, deadline)]
    return max(bad, default=0.0)


def overload(
    fates: Sequence[Fate], deadline: float, begin: float, end: float, executed: int, executed_in_overload: int
) -> Overload:
    """Account for a run whose overload lasts from `begin` to `end`.

    `executed` items ran from the start until nothing was left, `executed_in_overload` of them during overload, on which
    all that was in vain is charged.
    """
    answered = sum(1 for fate in fates if in_time(fate, deadline))
    return Overload(
        goodput=goodput(fates, deadline, begin + 1.0, end),
        wasted=min(1.0, max(0.0, executed - answered) / max(1, executed_in_overload)),
        refusals=tuple(fate.taken for fate in fates if fate.outcome == "refused"),
        recovery=recovery(fates, deadline, end),
        failed=sum(1 for fate in fates if fate.outcome == "failed"),
    )
