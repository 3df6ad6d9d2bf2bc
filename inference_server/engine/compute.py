"""Runs one batch: as many results as items whatever the model does, and only the guilty item fails."""

import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, NamedTuple, Protocol

from inference_server.batching import Ticket
from inference_server.engine.work import Slot
from inference_server.models.model import ModelCard
from services.kit.errors import Cancelled, CandelaError, DeadlineExceeded, Internal

_LOG = logging.getLogger(__name__)

# Single runs that fail in a row before the model is taken to be broken: what waits behind the batch has waited enough.
_GIVE_UP_AFTER = 8


class Runner(Protocol):
    """Where an instance computes: the model itself on the calling thread, or a process that has it."""

    watch_seconds: float  # how often to look whether it lives while there is nothing to do; -1 for never

    @property
    def alive(self) -> bool:
        """Whether it can run a batch now."""

    def load(self) -> None:
        """Load and warm up. Blocks; raises what the model raises."""

    def run(self, batch: Sequence[Any]) -> Sequence[Any]:
        """Compute a batch; raises whatever the model raises."""

    def revive(self) -> None:
        """Start again after it died; blocks until it lives, a delay passed, or `interrupt`."""

    def interrupt(self) -> None:
        """End a `revive` early. From any thread."""

    def close(self) -> None:
        """Give everything back."""


class Computed(NamedTuple):
    """The results of a batch, and whether its time says anything about the model."""

    results: Sequence[Any]
    ok: bool


def compute(runner: Runner, batch: Sequence[Ticket[Slot]], card: ModelCard, monotonic: Callable[[], float]) -> Computed:
    """Run a batch; when that raises, its items one by one. Never raises."""
    values = [ticket.payload[2] for ticket in batch]
    try:
        results = runner.run(values)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever a model raises fails its batch and never the process
        _LOG.exception("the model %s failed on a batch of %d", card.identity, len(values))
        return Computed(_one_by_one(runner, batch, card, monotonic), ok=False)
    if len(results) != len(values):
        _LOG.error("the model %s gave %d results for %d items", card.identity, len(results), len(values))
        return Computed([failure(card)] * len(values), ok=False)
    return Computed(results, ok=True)


def failure(card: ModelCard) -> Internal:
    """Return what callers are told of a model's defect; what went wrong inside is for the log."""
    return Internal(f"the model {card.name} failed", reason="MODEL_FAILED", metadata={"model": card.identity})


def _one_by_one(
    runner: Runner, batch: Sequence[Ticket[Slot]], card: ModelCard, monotonic: Callable[[], float]
) -> list[Any]:
    if len(batch) == 1:
        return [failure(card)]
    results: list[Any] = []
    failed_in_a_row = 0
    for ticket in batch:
        if failed_in_a_row == _GIVE_UP_AFTER:
            results.append(failure(card))
            continue
        result = _unwanted(ticket, monotonic) or _alone(runner, ticket.payload[2], card)
        results.append(result)
        failed_in_a_row = failed_in_a_row + 1 if isinstance(result, Internal) else 0
    return results


def _unwanted(ticket: Ticket[Slot], monotonic: Callable[[], float]) -> CandelaError | None:
    """Return why an item is not worth another run."""
    if not ticket.payload[0].wanted:
        return Cancelled("nobody waits for the item any more")
    if ticket.deadline < inf and ticket.deadline <= monotonic():
        return DeadlineExceeded("the deadline passed while the items of a failed batch ran one by one")
    return None


def _alone(runner: Runner, value: Any, card: ModelCard) -> Any:
    try:
        (result,) = runner.run([value])
    except CandelaError as error:  # what the model says about the item
        return error.with_traceback(None)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as for the batch, which was logged
        _LOG.warning("the model %s fails on a single item: %s", card.identity, error)
        return failure(card)
    return result


class OnThread:
    """Runs a model on the thread that asks: the model lets go of the interpreter while it computes."""

    alive = True
    watch_seconds = -1.0

    def __init__(self, model: Any) -> None:
        self._model = model
        self.run = model.run  # one attribute instead of a method that calls a method

    def load(self) -> None:
        self._model.load()
        self._model.warm_up()

    def revive(self) -> None:
        """Lives as long as the process."""

    def interrupt(self) -> None:
        """Never waits."""

    def close(self) -> None:
        self._model.close()
