"""What a model's instances do now, and when they are expected to be free."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from inference_server.batching.lanes import Flow


@dataclass(slots=True)
class Running:
    """A batch that runs: its shape and size, when it began and should end, and whose it is, with how much of it."""

    bucket: Hashable
    size: int
    begun: float
    end: float
    owners: Sequence[tuple[Flow, int]]


class Instances:
    """The instances by number: `running` has those that work."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.running: dict[int, Running] = {}

    def free(self, now: float) -> list[float]:
        """Return when each instance is expected to be free; one that is over its time, any moment."""
        times = [running.end if running.end > now else now for running in self.running.values()]
        times.extend([now] * (self.count - len(times)))
        return times or [now]

    def busy(self, now: float) -> float:
        """Return the seconds that are left of all running batches together."""
        left = 0.0
        for running in self.running.values():
            if running.end > now:
                left += running.end - now
        return left
