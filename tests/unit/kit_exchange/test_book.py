"""The caller's bookkeeping under every order of events: no call is lost, none ends twice, none is sent wrongly."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from candela.inference.v1 import exchange_service_pb2
from services.kit.errors import CandelaError, ResourceExhausted, Unavailable
from services.kit.exchange.book import Book
from services.kit.exchange.link import Link
from services.kit.exchange.options import ClientOptions
from services.kit.exchange.pending import Pending
from services.kit.grpc_status import to_status
from services.kit.pipeline.methods import Methods
from tests.unit.kit_exchange.models import CONTRACT, EmbedResponse, InferRequest, InferResponse, embed

INFOS = CONTRACT.infos(Methods())
OPTIONS = ClientOptions(waiting_calls=12, connect_seconds=3.0, credit_seconds=10.0, frame_bytes=4000)
ReplyFrame = exchange_service_pb2.ReplyFrame


class Waiter:
    """Stands for the future of a caller: notes how the call ended."""

    def __init__(self) -> None:
        self.ends: list[Any] = []

    def done(self) -> bool:
        return False  # so that a second end would be noted, and not be swallowed

    def set_result(self, answer: Any) -> None:
        self.ends.append(answer)

    def set_exception(self, error: CandelaError) -> None:
        self.ends.append(error)


class Server:
    """A replica's end of a link: what it was sent and has not answered yet."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.granted = 0
        self.lost = False
        self.open: dict[int, str] = {}

    def read(self) -> None:
        """Take in all frames that have left the caller."""
        outbox = self.link.outbox
        while not self.lost and (taken := outbox.next()) is not None:
            frame, size = taken
            outbox.sent(size)
            for call in frame.calls:
                member = call.WhichOneof("request")
                if member in CONTRACT.members:
                    assert call.id not in self.open, "an id was used twice"
                    self.open[call.id] = member
                    assert len(self.open) <= self.granted, "more calls than the credit allows"


class Calls(RuleBasedStateMachine):
    """Calls, replicas, answers, losses and time in any order."""

    servers = Bundle("servers")
    calls = Bundle("calls")

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.ended: list[Pending] = []
        self.waiters: dict[Pending, Waiter] = {}
        self.book = Book(OPTIONS, self._ended, lambda: None, lambda: None, lambda: self.now)

    def teardown(self) -> None:
        if not hasattr(self, "book"):
            return
        self.book.close()
        for pending, waiter in self.waiters.items():
            assert len(waiter.ends) <= 1
            assert self.ended.count(pending) == 1, "every call ends once"
        assert not self.book.live

    def _ended(self, pending: Pending, error: CandelaError | None) -> None:
        assert pending.done
        self.ended.append(pending)

    @rule(target=servers, window=st.integers(1, 4), large=st.booleans(), replica=st.sampled_from("abc"))
    def connect(self, window: int, large: bool, replica: str) -> Server:
        link = Link(replica, CONTRACT, OPTIONS, self.book)
        server = Server(link)
        server.granted = window
        frame = ReplyFrame()
        frame.replies.add(id=0).credit.count = window
        link.receive(frame)
        self.book.opened(link, large=large)
        return server

    @rule(
        target=calls,
        member=st.sampled_from(["embed_texts", "infer"]),
        priority=st.integers(1, 3),
        timeout=st.sampled_from([1.0, 5.0, 60.0]),
        large=st.booleans(),
    )
    def call(self, member: str, priority: int, timeout: float, large: bool) -> Pending:
        text = "x" * 5000 if large else "x"
        request = embed(text) if member == "embed_texts" else InferRequest(model_name=text)
        waiter = Waiter()
        pending = Pending(member, INFOS[member], request, waiter)  # type: ignore[arg-type]  # as much of a future as it needs
        pending.deadline, pending.priority = self.now + timeout, priority
        try:
            self.book.begin(pending)
        except ResourceExhausted:
            self.ended.append(pending)
            pending.done = True
        self.waiters[pending] = waiter
        return pending

    @rule()
    def assign(self) -> None:
        self.book.assign()

    @rule(server=servers)
    def read(self, server: Server) -> None:
        server.read()

    @precondition(lambda self: hasattr(self, "book"))
    @rule(server=servers, data=st.data(), how=st.sampled_from(["ok", "unavailable", "not last", "nonsense", "empty"]))
    def answer(self, server: Server, data: st.DataObject, how: str) -> None:
        if not server.open:
            return
        number = data.draw(st.sampled_from(sorted(server.open)))
        member = server.open[number]
        frame = ReplyFrame()
        reply = frame.replies.add(id=number, last=how != "not last")
        if how == "unavailable":
            reply.error.CopyFrom(to_status(Unavailable("stopping")))
        elif how == "nonsense":
            other = "infer" if member == "embed_texts" else "embed_texts"
            getattr(reply, other).SetInParent()
        elif how != "empty":
            content = EmbedResponse(model="a") if member == "embed_texts" else InferResponse(model_name="a")
            getattr(reply, member).CopyFrom(content)
        if reply.last:
            del server.open[number]
        server.link.receive(frame)

    @rule(server=servers)
    def words_about_nothing(self, server: Server) -> None:
        if server.lost:
            return
        frame = ReplyFrame()
        frame.replies.add(id=10**9, last=True).embed_texts.SetInParent()
        frame.replies.add(id=0).heartbeat.SetInParent()
        server.link.receive(frame)

    @rule(server=servers)
    def drain(self, server: Server) -> None:
        if server.lost:
            return
        frame = ReplyFrame()
        frame.replies.add(id=0).draining.SetInParent()
        server.link.receive(frame)

    @rule(server=servers)
    def lose(self, server: Server) -> None:
        if server.lost:
            return
        self.book.lost(server.link)
        server.open.clear()
        server.lost = True

    @rule(pending=calls)
    def abandon(self, pending: Pending) -> None:
        self.book.abandon(pending)

    @rule(seconds=st.sampled_from([0.1, 2.0, 4.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        following = self.book.expire()
        assert following is None or following > self.now

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "book"):
            return
        for pending, waiter in self.waiters.items():
            assert pending.done == (pending in self.ended)
            assert (pending in self.book.live) != pending.done
            assert len(waiter.ends) <= 1
            if not pending.done:
                assert pending.request is not None
                assert pending.deadline > self.now
                assert pending.attempts <= OPTIONS.attempts

    @invariant()
    def what_waits_is_bounded(self) -> None:
        if hasattr(self, "book"):
            waiting = [one for one in self.book.live if one.link is None]
            assert len(waiting) == self.book.waiting


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
pytestmark = pytest.mark.timeout(60)
