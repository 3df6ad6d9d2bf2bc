"""Brings what is over from the instances' threads to the callers: results first, then what is said about them."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from inference_server import names
from inference_server.batching import Ended, Ticket
from inference_server.engine.instances import Outcome
from inference_server.engine.work import Slot, Submission
from inference_server.models.model import ModelCard

_LOG = logging.getLogger(__name__)


class Delivery:
    """Everything on the loop thread but `post`."""

    def __init__(
        self,
        card: ModelCard,
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[Ended[Slot]], None],
        report: Callable[[Sequence[Outcome]], None],
    ) -> None:
        """`ended` is told of each item that left without running, `report` of batches after their results left."""
        self._card = card
        self._loop = loop
        self._told = ended
        self._report = report
        self._outbox: deque[tuple[Outcome | None, Sequence[Ended[Slot]]]] = deque()
        self._posted = False
        self._unreported: list[Outcome] = []
        self.inside = 0  # items that were let in and have not ended
        self._emptied: asyncio.Event | None = None

    def post(self, outcome: Outcome | None, ended: Sequence[Ended[Slot]]) -> None:
        """Hand over what is over, on an instance's thread; what comes together shares one turn of the loop."""
        self._outbox.append((outcome, ended))
        if not self._posted:
            self._posted = True
            try:
                self._loop.call_soon_threadsafe(self.deliver)
            except RuntimeError:  # the loop is closed: nobody waits any more
                _LOG.warning("the model %s finished a batch after the end", self._card.identity)

    def add(self, outcome: Outcome | None, ended: Sequence[Ended[Slot]]) -> None:
        """Deliver what is over now, on the loop."""
        self._outbox.append((outcome, ended))
        self.deliver()

    def deliver(self) -> None:
        """Send results on their way; what they say about the model is noted in a later turn of the loop."""
        self._posted = False  # before the outbox is emptied: what is posted meanwhile is seen now or posts again
        outbox, settle = self._outbox, self.settle
        while outbox:
            outcome, ended = outbox.popleft()
            if outcome is not None:
                for ticket, result in zip(outcome.batch, outcome.results, strict=True):
                    settle(ticket, result)
                if not self._unreported:
                    self._loop.call_soon(self._report_all)
                self._unreported.append(outcome)
            if ended:
                self.end(ended)

    def settle(self, ticket: Ticket[Slot], result: Any) -> None:
        """Give one item its result."""
        submission, index, _ = ticket.payload
        self.left(1)
        try:
            submission.settle(index, result)
        except Exception:  # noqa: BLE001 - one receiver's defect must not cost the others their results
            _LOG.exception("results of the model %s could not be handed over", self._card.identity)

    def complete(self, submission: Submission[Any]) -> None:
        """Complete a request of which nothing had to wait."""
        try:
            submission.complete()
        except Exception:  # noqa: BLE001 - as above
            _LOG.exception("results of the model %s could not be handed over", self._card.identity)

    def end(self, ended: Sequence[Ended[Slot]]) -> None:
        """Give items that left the queue without running their errors."""
        for one in ended:
            self._told(one)
            self.settle(one.ticket, one.error)

    def left(self, items: int) -> None:
        """Note that so many items are over."""
        self.inside -= items
        if self._emptied is not None and self.inside <= 0:
            self._emptied.set()

    async def emptied(self, seconds: float) -> bool:
        """Wait until nothing is inside, at most `seconds`; whether it is so."""
        if self.inside > 0:
            self._emptied = asyncio.Event()
            try:
                await asyncio.wait_for(self._emptied.wait(), seconds)
            except TimeoutError:
                return False
        return True

    def _report_all(self) -> None:
        outcomes, self._unreported = self._unreported, []
        self._report(outcomes)


def outcome_of(one: Ended[Slot]) -> str:
    """Return the name under which statistics count an item that left without running."""
    made_way = one.error.metadata.get("cause") == "displaced"
    return names.DISPLACED if made_way else names.EXPIRED  # expired, or no longer able to end in time
