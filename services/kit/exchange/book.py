"""The caller's bookkeeping: which calls wait, which are where, and how each comes to its one end.

No sockets, no tasks: a clock and callbacks come from outside, so that every order of events can be tried.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from google.rpc import status_pb2

from services.kit.access import Level
from services.kit.errors import Cancelled, CandelaError, Internal, ResourceExhausted, Unavailable
from services.kit.exchange.link import Link
from services.kit.exchange.options import ClientOptions
from services.kit.exchange.pending import Pending
from services.kit.grpc_status import from_status
from services.kit.pipeline.deadline import too_late

_PRIORITIES = 4
_UNREACHABLE = "a part that the answer needs cannot be reached"


class Book:
    """All calls of one Exchange. `ended` is told of every call that came to its end, `schedule` to call `assign` soon.

    Small calls and large ones travel on links of their own (`small`, `large`), so that one does not wait for another.
    """

    def __init__(
        self,
        options: ClientOptions,
        ended: Callable[[Pending, CandelaError | None], None],
        schedule: Callable[[], None],
        want_large: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`want_large` is called when a large call has no link to go on."""
        self.small: list[Link] = []
        self.large: list[Link] = []
        self.live: set[Pending] = set()
        self._options = options
        self._ended = ended
        self._schedule = schedule
        self._want_large = want_large
        self._clock = clock
        self._waiting: tuple[tuple[deque[Pending], deque[Pending]], ...] = tuple(
            (deque(), deque()) for _ in range(_PRIORITIES)
        )
        self._count = 0
        self._bytes = 0
        self._turn = 0

    @property
    def waiting(self) -> int:
        """How many calls wait for a link."""
        return self._count

    # --- calls

    def begin(self, pending: Pending) -> None:
        """Take a call on; ResourceExhausted when it is too large, or too many wait already (OVERLOADED)."""
        options = self._options
        if pending.size > options.call_bytes:
            raise ResourceExhausted("the request is larger than a message may be")
        if self._count >= options.waiting_calls or (self._count and self._bytes + pending.size > options.waiting_bytes):
            raise ResourceExhausted("too many calls wait to be sent", reason="OVERLOADED", retry_after=1.0)
        self.live.add(pending)
        self._wait(pending)

    def _wait(self, pending: Pending, *, first: bool = False) -> None:
        pending.link = None
        pending.wait_until = self._clock() + (
            self._options.credit_seconds if self._links(pending) else self._options.connect_seconds
        )
        queue = self._waiting[pending.priority][pending.size > self._options.frame_bytes]
        (queue.appendleft if first else queue.append)(pending)
        self._count += 1
        self._bytes += pending.size
        self._schedule()

    def abandon(self, pending: Pending) -> None:
        """End a call that nobody waits for any more."""
        if not pending.done:
            link = pending.link
            self._settle(pending, None, Cancelled("the caller cancelled the call"))
            if link is not None:
                link.abandon(pending)

    def let_come(self, pending: Pending, count: int) -> None:
        """Let more replies to a call come."""
        if not pending.done and pending.link is not None:
            pending.link.let_come(pending, count)

    def _settle(self, pending: Pending, answer: Any, error: CandelaError | None) -> None:
        self.live.discard(pending)
        if pending.link is None:
            self._left(pending)
        pending.settle(answer, error)
        self._ended(pending, error)

    # --- to the links

    def assign(self) -> None:
        """Send what waits, the more urgent first, as far as links have credit."""
        for queues in reversed(self._waiting):
            for large, queue in enumerate(queues):
                while queue:
                    pending = queue[0]
                    if not pending.done:
                        link = self._pick(pending)
                        if link is None:
                            if large and not self.large:
                                self._want_large()
                            break
                        self._left(pending)
                        link.send(pending)
                    queue.popleft()

    def _links(self, pending: Pending) -> list[Link]:
        return self.large if pending.size > self._options.frame_bytes else self.small

    def _left(self, pending: Pending) -> None:
        """Count a call that waits no more; its place in the queue may stay until its turn."""
        self._count -= 1
        self._bytes -= pending.size

    def _pick(self, pending: Pending) -> Link | None:
        """Return the link with the fewest calls on it, in turns among equals; not the replica that failed, if others
        are there."""
        links = self._links(pending)
        if len(links) == 1:
            return links[0] if links[0].ready else None
        best, least = None, (True, 0)
        self._turn += 1
        for index in range(len(links)):
            link = links[(self._turn + index) % len(links)]
            load = (link.replica is pending.avoid, len(link.open))
            if link.ready and (best is None or load < least):
                best, least = link, load
        return best

    # --- from the links

    def changed(self) -> None:
        """Send what waits when something may have become possible."""
        if self._count:
            self._schedule()

    def retired(self, link: Link) -> None:
        """Use a link no more; its calls go on."""
        for links in (self.small, self.large):
            if link in links:
                links.remove(link)
        self.changed()

    def opened(self, link: Link, *, large: bool) -> None:
        """Use a link from now on."""
        (self.large if large else self.small).append(link)
        for pending in self.live:
            if pending.link is None:
                pending.wait_until = max(pending.wait_until, self._clock() + self._options.credit_seconds)
        self._schedule()

    def lost(self, link: Link, refusal: CandelaError | None = None) -> None:
        """Give the calls of a link that is over to another, or tell their callers.

        With a `refusal` nothing that was sent is sent again: the replica would not take it.
        """
        self.retired(link)
        for pending, begun in list(link.lost()):
            if begun and refusal is not None:
                self._settle(pending, None, refusal)
            elif begun and (not pending.may_repeat or pending.attempts >= self._options.attempts):
                self._settle(pending, None, Unavailable(_UNREACHABLE))
            else:
                pending.attempts -= not begun
                pending.avoid = link.replica
                self._wait(pending, first=True)

    def answered(self, link: Link, pending: Pending, reply: Any, last: bool) -> None:
        """Act on a reply."""
        what = reply.WhichOneof("result")
        if what == "error":
            self._failed(link, pending, reply.error)
        elif what == pending.member:
            answer = getattr(reply, what)
            if pending.many is None:
                self._settle(pending, answer, None)
                return
            pending.many.push(answer)
            if last:
                self._settle(pending, None, None)
        elif last:
            empty = what is None and pending.many is not None
            self._settle(pending, None, None if empty else Internal("a part that the answer needs failed"))

    def _failed(self, link: Link, pending: Pending, status: status_pb2.Status) -> None:
        access = pending.info.access
        error = from_status(status, as_service=access is None or access.level is Level.SERVICE)
        again = isinstance(error, Unavailable) and pending.may_repeat and pending.attempts < self._options.attempts
        if again and any(other.replica is not link.replica for other in self._links(pending)):
            pending.avoid = link.replica
            self._wait(pending, first=True)
        else:
            self._settle(pending, None, error)

    # --- time

    def expire(self) -> float | None:
        """End the calls whose time has passed; return when the next one's does, None when none is under way."""
        now = self._clock()
        for pending in [one for one in self.live if one.deadline <= now or _waited(one, now)]:
            link = pending.link
            self._settle(pending, None, self._overdue(pending, now))
            if link is not None:
                link.abandon(pending)
            else:
                self._schedule()  # its place in the queue may keep others from being seen
        return min((_next_time(one) for one in self.live), default=None)

    def _overdue(self, pending: Pending, now: float) -> CandelaError:
        if pending.deadline <= now:
            return too_late()
        if self._links(pending):
            return ResourceExhausted("a part that the answer needs is overloaded", reason="OVERLOADED", retry_after=1.0)
        return Unavailable(_UNREACHABLE)

    def close(self) -> None:
        """End every call with Unavailable."""
        for pending in list(self.live):
            self._settle(pending, None, Unavailable("the caller's process ends"))


def _waited(pending: Pending, now: float) -> bool:
    return pending.link is None and pending.wait_until <= now


def _next_time(pending: Pending) -> float:
    return pending.deadline if pending.link is not None else min(pending.deadline, pending.wait_until)
