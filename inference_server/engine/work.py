"""One request on its way through a model: its items, what is known of it, and the one call that brings its results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext

from inference_server.batching import Priority, Ticket
from services.kit.errors import CandelaError, Internal

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
_UNSETTLED = Internal("the item was not worked on")


@dataclass(frozen=True, slots=True)
class Item(Generic[InputT]):
    """One input and how many bytes it keeps in memory while it waits."""

    value: InputT
    size: int


@dataclass(slots=True)
class Work:
    """What the scheduler must know of a request.

    `tenant` is whose share of the model it uses; `deadline` is in seconds of the engine's clock; `span` is the
    request's own, for the batch's span to link to.
    """

    tenant: str = ""
    priority: Priority = Priority.NORMAL
    deadline: float | None = None
    span: SpanContext = INVALID_SPAN_CONTEXT


Done: TypeAlias = Callable[[list[OutputT | CandelaError]], None]
Request: TypeAlias = tuple[Sequence[Item[InputT] | CandelaError], Work, Done[OutputT]]


class Submission(Generic[OutputT]):
    """The caller's end of a request. All of it happens on the loop thread.

    A plain class with slots: one is made for each request, and most requests have one item.
    """

    __slots__ = ("_done", "_open", "_results", "_withdraw", "tickets", "work")

    def __init__(
        self, size: int, work: Work, done: Done[OutputT], withdraw: Callable[["Submission[Any]"], None]
    ) -> None:
        self.work = work
        self.tickets: Sequence[Ticket[Slot]] = ()
        self._results: list[OutputT | CandelaError] = [_UNSETTLED] * size
        self._open = size
        self._done: Done[OutputT] | None = done
        self._withdraw = withdraw

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for the results."""
        return self._done is not None

    def settle(self, index: int, result: OutputT | CandelaError) -> None:
        """Note an item's result; the last one of the request completes it. Raises what the receiver raises."""
        self._results[index] = result
        self._open -= 1
        if not self._open:
            self.complete()

    def fail_early(self, index: int, error: CandelaError) -> None:
        """Note that an item is bad before anything waits; completes nothing."""
        self._results[index] = error
        self._open -= 1

    @property
    def settled(self) -> bool:
        return not self._open

    def complete(self) -> None:
        """Hand the results over, once; does nothing when the caller has gone away."""
        done, self._done = self._done, None
        self.tickets = ()  # they hold this submission: nothing must wait for the garbage collector, inputs are large
        if done is not None:
            done(self._results)

    def cancel(self) -> None:
        """Take what still waits out of the queue and drop the results of what runs. May be repeated."""
        if self._done is not None:
            self._done = None
            self._withdraw(self)
            self.tickets = ()


# A waiting item: its request, its place in it, its value. A plain tuple, made and taken apart in tens of nanoseconds.
Slot: TypeAlias = tuple[Submission[Any], int, Any]
