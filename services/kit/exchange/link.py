"""One stream on the caller's side, without the stream: which calls are on it, and how many more may be.

Plain bookkeeping that waits for nothing; lane.py reads and writes.
"""

import time
from collections.abc import Iterator
from typing import Any, Protocol

from services.kit.exchange.contract import Contract
from services.kit.exchange.life import Pulse
from services.kit.exchange.options import ClientOptions
from services.kit.exchange.outbox import Outbox
from services.kit.exchange.pending import Pending

_AROUND = 128  # bytes of a call beside its request
_WORD = 32


class Answers(Protocol):
    """Where replies go."""

    def answered(self, link: "Link", pending: Pending, reply: Any, last: bool) -> None:
        """Act on a reply to a call that somebody waits for."""

    def changed(self) -> None:
        """Learn that more calls may be sent."""

    def retired(self, link: "Link") -> None:
        """Learn that a stream takes no more calls."""


class Link:
    """A stream to one replica. It can be used once the replica has given credit, and until it drains."""

    def __init__(self, replica: object, contract: Contract, options: ClientOptions, answers: Answers) -> None:
        self.replica = replica
        self.outbox = Outbox(contract.call_frame, "calls", size=options.frame_bytes, count=options.frame_calls)
        self.pulse = Pulse(options.heartbeat_seconds, time.monotonic())
        self.credit = 0
        self.open: dict[int, Pending | None] = {}  # None for a call that nobody waits for any more
        self.retired = False
        self.granted = False
        self._answers = answers
        self._unsent_bytes = options.unsent_bytes
        self._last = 0

    @property
    def ready(self) -> bool:
        """Say whether one more call may be sent: there is credit, and what was sent before has nearly left."""
        return self.credit > 0 and self.outbox.unsent < self._unsent_bytes

    def send(self, pending: Pending) -> None:
        """Put a call into the next frame; the caller has seen that there is credit."""
        self._last += 1
        number = pending.number = self._last
        pending.link = self
        pending.attempts += 1
        self.open[number] = pending
        self.credit -= 1
        call = self.outbox.add(number, pending.size + _AROUND)
        pending.write_context(call.context, time.monotonic())
        request = getattr(call, pending.member)
        request.CopyFrom(pending.request)
        request.SetInParent()
        if pending.many is not None:
            self.let_come(pending, pending.many.window)

    def let_come(self, pending: Pending, count: int) -> None:
        """Let `count` more replies to a call come."""
        if not self.outbox.closed:
            self.outbox.add(pending.number, _WORD).credit.count = count

    def abandon(self, pending: Pending) -> None:
        """Tell the replica that nobody waits for a call; its place is free when its last reply comes."""
        if self.open.get(pending.number) is pending:
            self.open[pending.number] = None
            if not self.outbox.closed:
                self.outbox.add(pending.number, _WORD).cancel.SetInParent()

    def beat(self, interval: float) -> None:
        """Show life."""
        if not self.outbox.closed:
            self.outbox.add(0, _WORD).heartbeat.interval.FromMilliseconds(int(interval * 1000))

    def retire(self) -> None:
        """Send nothing new; the writer closes our side when what was put into frames has left."""
        self.retired = True
        self.outbox.close()
        self._answers.retired(self)

    def receive(self, frame: Any) -> None:
        """Take in a frame of replies."""
        had = self.credit
        open_ = self.open
        for reply in frame.replies:
            number, last = reply.id, reply.last
            if number == 0:
                self._word(reply)
                continue
            if number not in open_:
                continue
            if last:
                pending = open_.pop(number)
                self.credit += 1
            else:
                pending = open_[number]
            if pending is not None and not pending.done:
                self._answers.answered(self, pending, reply, last)
        if self.credit > had:
            self._answers.changed()

    def _word(self, reply: Any) -> None:
        word = reply.WhichOneof("result")
        if word == "credit":
            self.granted = True
            self.credit += reply.credit.count
        elif word == "heartbeat":
            self.pulse.told(reply.heartbeat.interval.seconds + reply.heartbeat.interval.nanos * 1e-9)
        elif word == "draining":
            self.retire()

    def lost(self) -> Iterator[tuple[Pending, bool]]:
        """Give the calls that were not answered when the stream ended, and whether the replica may have begun each."""
        kept = {call.id for frame in self.outbox.left() for call in frame.calls}
        for number, pending in self.open.items():
            if pending is not None and not pending.done:
                yield pending, number not in kept
        self.open.clear()
