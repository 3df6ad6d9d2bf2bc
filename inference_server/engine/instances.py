"""One instance of a model: a thread that asks for batches, runs them, and hands the outcomes to the loop."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from inference_server.batching import Ended, Taken, Ticket
from inference_server.engine.compute import Computed, Runner, compute
from inference_server.engine.work import Slot
from inference_server.models.model import ModelCard

if TYPE_CHECKING:
    from inference_server.engine.dispatcher import Dispatcher

_LOG = logging.getLogger(__name__)
_AFTER_STUMBLING = 0.1  # seconds


@dataclass(slots=True)
class Outcome:
    """A batch that is over. Times are in seconds of the engine's clock, `began_ns` is Unix time."""

    instance: int
    batch: Sequence[Ticket[Slot]]
    results: Sequence[Any]
    began: float
    ended: float
    began_ns: int
    ok: bool


class Post(Protocol):
    """Hands an outcome and what ended without running to the loop; called on instances' threads."""

    def __call__(self, outcome: Outcome | None, ended: Sequence[Ended[Slot]], /) -> None: ...


class Instance:
    """A thread that runs a model's batches one after the other.

    Between two batches there is nothing but the queue: the next batch is taken before the results of the last one are
    looked at by anybody.
    """

    def __init__(
        self, number: int, runner: Runner, card: ModelCard, dispatcher: "Dispatcher", monotonic: Callable[[], float]
    ) -> None:
        self.number = number
        self.runner = runner
        self.running: Sequence[Ticket[Slot]] = ()
        self._card = card
        self._dispatcher = dispatcher
        self._monotonic = monotonic
        self._handed: Taken[Slot] | None = None
        self._outcome: Outcome | None = None  # of the last batch, as long as nobody was told of it
        self._stopping = False
        # A bare lock, taken while there is nothing to do: to wake by it is one system call, a Condition needs several.
        self._work = threading.Lock()
        self._work.acquire()
        self._thread: threading.Thread | None = None

    def start(self, post: Post) -> None:
        """Begin to ask for batches."""
        name = f"{self._card.name}-{self.number}"
        self._thread = threading.Thread(target=self._serve, args=(post,), name=name, daemon=True)
        self._thread.start()

    def wake(self, handed: Taken[Slot] | None = None) -> None:
        """Let the thread of an idle instance go on, with a batch that was taken in its name or to take one."""
        self._handed = handed
        self._work.release()

    def stop(self) -> None:
        """Let the thread end when its batch does. Only for an instance that is idle or busy, never one being woken."""
        self._stopping = True
        self.runner.interrupt()
        if self._work.locked():
            self._work.release()

    def join(self, seconds: float) -> bool:
        """Wait for the thread's end; whether it ended."""
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def run(self, batch: Sequence[Ticket[Slot]]) -> Outcome:
        """Run a batch on the calling thread."""
        self.running = batch
        began_ns, began = time.time_ns(), self._monotonic()
        computed: Computed = compute(self.runner, batch, self._card, self._monotonic)
        ended = self._monotonic()
        self.running = ()
        return Outcome(self.number, batch, computed.results, began, ended, began_ns, computed.ok)

    def _serve(self, post: Post) -> None:
        while not self._stopping:
            try:
                self._work_on(post)
            except Exception:  # noqa: BLE001 - a defect outside of the model costs a batch its statistics, not an instance
                _LOG.exception("an instance of the model %s stumbled and goes on", self._card.identity)
                self._deliver(post)
                self._work.acquire(timeout=_AFTER_STUMBLING)
        if self._outcome is not None:
            self._dispatcher.finished(self, self._outcome)
            self._deliver(post)

    def _work_on(self, post: Post) -> None:
        while not self._stopping:
            if not self.runner.alive:
                if self._outcome is not None:
                    self._dispatcher.finished(self, self._outcome)
                    self._deliver(post)
                self.runner.revive()
                continue
            batch = self._next_batch(post) or self._sleep()
            if batch:
                self._outcome = self.run(batch)
            del batch  # an instance that sleeps holds no inputs

    def _next_batch(self, post: Post) -> Sequence[Ticket[Slot]]:
        outcome = self._outcome
        taken = self._dispatcher.next(self, outcome)
        self._outcome = None
        if outcome is not None or taken.ended:
            post(outcome, taken.ended)
        return taken.batch

    def _deliver(self, post: Post) -> None:
        """Hand over the outcome that is left, if any."""
        outcome, self._outcome = self._outcome, None
        if outcome is not None:
            post(outcome, ())

    def _sleep(self) -> Sequence[Ticket[Slot]]:
        """Wait to be woken; returns the batch that was handed over, if any."""
        while not self._work.acquire(timeout=self.runner.watch_seconds):
            if not self.runner.alive and self._dispatcher.leave(self):
                return ()  # nobody wakes it now: it goes and revives
        handed, self._handed = self._handed, None
        return () if handed is None else handed.batch
