"""The queue behind its lock, and which instances have nothing to do. Shared by the loop and the instances' threads."""

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from inference_server.batching import BatchQueue, Ended, Taken, Ticket
from inference_server.batching.costs import BucketCosts
from inference_server.engine.instances import Instance, Outcome
from inference_server.engine.work import Slot, Submission
from services.kit.errors import CandelaError

Offer = tuple[Submission[Any], Sequence[Ticket[Slot]]]


class Dispatcher:
    """Gives batches to instances that ask, and wakes an idle one when there is work.

    The lock is held for microseconds around calls of the queue and never while a model computes or a callback runs.
    """

    def __init__(self, queue: BatchQueue[Slot], monotonic: Callable[[], float]) -> None:
        self.queue = queue
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._idle: list[Instance] = []

    def offer(
        self, offers: Sequence[Offer], now: float
    ) -> tuple[list[CandelaError | None], list[Ended[Slot]], Instance | None]:
        """Let requests wait; returns why each was refused, what gave way, and an idle instance that must be woken.

        The instance counts as busy from here on.
        """
        refusals: list[CandelaError | None] = []
        ended: list[Ended[Slot]] = []
        with self._lock:
            for _, tickets in offers:
                try:
                    ended.extend(self.queue.offer(tickets, now))
                except CandelaError as error:
                    refusals.append(error.with_traceback(None))  # which holds this frame, and so the error itself
                else:
                    refusals.append(None)
            woken = self._idle.pop() if self._idle and len(self.queue) else None
        return refusals, ended, woken

    def next(self, instance: Instance, outcome: Outcome | None) -> Taken[Slot]:
        """Note that an instance's batch ended and give it the next one; without one it counts as idle from here on."""
        with self._lock:
            if outcome is not None:
                self.queue.finished(instance.number, outcome.ended, ok=outcome.ok)
            taken = self.queue.take(instance.number, self._monotonic())
            if not taken.batch:
                self._idle.append(instance)
                return taken
            # One wakes the next: a burst is spread over all instances without the loop waking each of them.
            other = self._idle.pop() if self._idle and len(self.queue) else None
        if other is not None:
            other.wake()
        return taken

    def leave(self, instance: Instance) -> bool:
        """Count an idle instance as busy; False when it is being woken already."""
        with self._lock:
            if instance not in self._idle:
                return False
            self._idle.remove(instance)
            return True

    def finished(self, instance: Instance, outcome: Outcome) -> None:
        """Note that an instance's batch ended; it asks for no other."""
        with self._lock:
            self.queue.finished(instance.number, outcome.ended, ok=outcome.ok)

    def withdraw(self, tickets: Sequence[Ticket[Slot]]) -> int:
        """Take out what still waits and return how many that was."""
        with self._lock:
            return self.queue.withdraw(tickets)

    def known_costs(self) -> dict[Hashable, BucketCosts]:
        """Return what the cost model knows now."""
        with self._lock:
            return self.queue.costs.snapshot()

    def drop_all(self) -> list[Ticket[Slot]]:
        """Take out everything that waits."""
        with self._lock:
            return self.queue.drop_all()
