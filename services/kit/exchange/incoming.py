"""One call of a stream as its handler sees it."""

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext

from services.kit.call import Call, Principal
from services.kit.errors import CandelaError
from services.kit.pipeline.item_telemetry import ItemTrace, with_trace
from services.kit.pipeline.items import ItemMethod
from services.kit.pipeline.requests import IDEMPOTENCY_KEY

if TYPE_CHECKING:
    from services.kit.exchange.session import Session

_LOG = logging.getLogger(__name__)


class Incoming:
    """A call that was admitted: answer it with `reply` or `fail`, on the loop's thread.

    `deadline` is in seconds of the clock of the server (its pipeline's). `principal` is the user whom the calling
    service acts for, or that service. Once the call is over (answered, cancelled, too late, caller gone), replies to
    it are dropped. Plain slots: tens of thousands of these are made a second.
    """

    __slots__ = (
        "_on_cancel",
        "credit",
        "deadline",
        "done",
        "frame",
        "held",
        "id",
        "member",
        "method",
        "principal",
        "priority",
        "request",
        "request_id",
        "seen",
        "session",
        "started",
        "traceparent",
    )

    def __init__(self, session: "Session", number: int, member: str, method: ItemMethod, request: Message) -> None:
        self.session = session
        self.id = number
        self.member = member
        self.method = method
        self.request: Any = request
        self.started = 0.0
        self.deadline = 0.0
        self.priority = 0
        self.principal: Principal = session.principal
        self.request_id = ""
        self.traceparent = ""
        self.seen: ItemTrace | None = None
        self.done = False
        self.credit: int | None = None  # how many replies may leave; None for as many as the stream bears
        self.held: deque[tuple[Message | None, bool]] | None = None  # replies that wait for credit
        self.frame: Any = None
        self._on_cancel: Callable[[], None] | None = None

    def reply(self, message: Message, last: bool = True) -> None:
        """Send a reply of the method's response type. After the last one, none follows."""
        if not self.done:
            self.session.reply(self, message, last)

    def finish(self) -> None:
        """End a call whose replies are all sent."""
        if not self.done:
            self.session.reply(self, None, True)

    def fail(self, error: CandelaError) -> None:
        """End the call with an error."""
        if not self.done:
            self.session.fail(self, error)

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when the call ends before its last reply: cancelled, too late, or its caller gone."""
        self._on_cancel = callback
        if self.done:
            self.dropped()

    def taken_callback(self) -> Callable[[], None]:
        """Return what tells the handler that nobody waits any more; once."""
        callback, self._on_cancel = self._on_cancel, None
        return partial(_told, callback)

    def dropped(self) -> None:
        """Tell the handler that nobody waits any more."""
        self.taken_callback()()

    def trace(self) -> ItemTrace:
        """Return the call's trace, made now if there was none."""
        seen = self.seen = with_trace(self.seen, self.method.info, self.traceparent)
        return seen

    def forget(self) -> None:
        """Let go of what a call that is over has no use for."""
        self._on_cancel = None
        self.request = None
        self.held = None

    @property
    def span(self) -> SpanContext:
        """Return the call's span when it is recorded, an invalid one otherwise."""
        seen = self.seen
        return INVALID_SPAN_CONTEXT if seen is None or seen.span is None else seen.span.get_span_context()

    def call(self, fingerprint: bytes = b"") -> Call:
        """Return the call's facts as use cases read them."""
        return Call(
            method=self.method.info.path,
            principal=self.principal,
            request_id=self.request_id,
            fingerprint=fingerprint,
            deadline=self.deadline,
            peer=self.session.peer,
            metadata={IDEMPOTENCY_KEY: self.request_id} if self.request_id else {},
        )


def _told(callback: Callable[[], None] | None) -> None:
    if callback is None:
        return
    try:
        callback()
    except Exception:  # noqa: BLE001 - one handler's defect must not end the stream of the others
        _LOG.exception("a handler failed when it was told that its call is over")
