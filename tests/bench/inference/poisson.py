"""Open load: when requests come does not depend on when others are answered."""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """So many seconds at so many requests a second on average."""

    rate: float
    seconds: float


def schedule(phases: Sequence[Phase], seed: int) -> list[float]:
    """Return when requests come, in seconds from the start: a Poisson process; same seed, same times."""
    chance = random.Random(seed)
    times: list[float] = []
    begin = 0.0
    for phase in phases:
        end = begin + phase.seconds
        # What is left of an interval when the rate changes is forgotten: a Poisson process has no memory.
        now = begin + (chance.expovariate(phase.rate) if phase.rate else phase.seconds)
        while now < end:
            times.append(now)
            now += chance.expovariate(phase.rate)
        begin = end
    return times


def bounds(phases: Sequence[Phase], number: int) -> tuple[float, float]:
    """Return when a phase begins and ends, in seconds from the start."""
    begin = sum(phase.seconds for phase in phases[:number])
    return begin, begin + phases[number].seconds
