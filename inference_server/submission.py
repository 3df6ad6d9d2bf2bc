"""One request on its way through a model: its items' results, and the future that brings them together."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from opentelemetry.trace import SpanContext

from services.kit.errors import CandelaError, Internal

OutputT = TypeVar("OutputT")
_UNSETTLED = Internal("the item was not worked on")


class Request(Generic[OutputT]):
    """Collects the results of a request's items, which batches bring in any order and from several threads.

    The engine holds its lock around `settle`, so that no two threads settle items of one request at the same time.
    """

    def __init__(self, size: int, span: SpanContext) -> None:
        self.span = span
        self.future: Future[list[OutputT | CandelaError]] = Future()
        self._results: list[OutputT | CandelaError] = [_UNSETTLED] * size
        self._open = size

    def settle(self, index: int, result: OutputT | CandelaError) -> bool:
        """Note an item's result, once for each item; whether it was the last one."""
        self._results[index] = result
        self._open -= 1
        return self._open == 0

    def deliver(self) -> None:
        """Complete the future, after the last item was settled; does nothing when the caller has gone away."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(self._results)


class Submission(Generic[OutputT]):
    """The caller's end of a request: wait for `future`, or cancel."""

    def __init__(self, request: Request[OutputT], withdraw: Callable[[], None]) -> None:
        self.future: Future[list[OutputT | CandelaError]] = request.future
        self._withdraw = withdraw

    def cancel(self) -> None:
        """Take the items that still wait out of the queue; results of those that run are dropped. May be repeated."""
        if self.future.cancel():
            self._withdraw()


def failures_in(results: Sequence[OutputT | CandelaError]) -> int:
    """Return how many of a batch's results are errors."""
    return sum(isinstance(result, CandelaError) for result in results)
