"""Revoked sessions and users, against a real Redis."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import pytest_asyncio

from services.kit.call import Principal
from services.kit.clock import ManualClock
from services.kit.errors import Unauthenticated, Unavailable
from services.kit.redis import RedisOptions, redis_client
from services.kit.revocation import KEY, Revocations, session_member, user_member
from services.kit.tokens import Verified
from tests.support.eventually import eventually
from tests.support.grpc_server import running_server
from tests.support.redis_server import RedisServer, redis_server
from tests.unit.kit_grpc.echo import Echo, binding, pb_grpc
from tests.unit.kit_grpc.shapes import invoke

START = datetime(2026, 1, 1, tzinfo=UTC)
_IMPATIENT = RedisOptions(connect_timeout=0.2, read_timeout=0.2, retries=1)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


class Processes:
    """Several processes' copies of the revocations of one Redis."""

    def __init__(self, server: RedisServer, stack: AsyncExitStack) -> None:
        self.server = server
        self.stack = stack
        self.clock = ManualClock(START)

    def new(self) -> Revocations:
        client = redis_client(self.server.url, _IMPATIENT)
        self.stack.push_async_callback(client.aclose)
        return Revocations(client, stale_seconds=5.0, clock=self.clock)


@pytest_asyncio.fixture
async def processes(server: RedisServer) -> AsyncIterator[Processes]:
    async with AsyncExitStack() as stack:
        yield Processes(server, stack)


def token(*, user: str = "u1", session: str = "s1", issued_at: datetime = START) -> Verified:
    principal = Principal(tenant="default", user=user, session=session)
    return Verified(principal, issued_at.timestamp(), issued_at.timestamp() + 900)


def holds(copy: Revocations, verified: Verified) -> bool:
    try:
        copy.check(verified)
    except Unauthenticated as refused:
        return refused.reason != "SESSION_REVOKED"  # any other reason is a defect: it holds where it must not
    return True


async def test_a_revoked_session_is_refused_here_at_once_and_elsewhere_after_a_poll(processes: Processes) -> None:
    here, elsewhere = processes.new(), processes.new()
    for copy in (here, elsewhere):
        await copy.refresh()
    await here.revoke(session_member("s1"))
    assert not holds(here, token())
    assert holds(elsewhere, token())
    await elsewhere.refresh()
    assert not holds(elsewhere, token())
    assert holds(elsewhere, token(session="s2"))


async def test_a_users_revocation_ends_older_tokens_only(processes: Processes) -> None:
    copy = processes.new()
    await copy.refresh()
    processes.clock.advance(4)
    await copy.revoke(user_member("u1"))
    moment = processes.clock.now()
    assert not holds(copy, token(issued_at=moment - timedelta(microseconds=1)))
    assert not holds(copy, token(issued_at=moment))
    assert holds(copy, token(issued_at=moment + timedelta(microseconds=1)))
    assert holds(copy, token(user="u2"))


async def test_only_what_is_new_is_read_and_nothing_is_missed(processes: Processes) -> None:
    writer, reader = processes.new(), processes.new()
    await reader.refresh()
    for number in range(30):
        await writer.revoke(session_member(f"s{number}"))
        processes.clock.advance(3)
        await reader.refresh()
        assert not holds(reader, token(session=f"s{number}"))


async def test_an_entry_published_late_with_an_old_time_is_found(processes: Processes) -> None:
    writer, reader = processes.new(), processes.new()
    await reader.refresh()
    processes.clock.advance(120)
    await reader.refresh()
    await writer.revoke(session_member("s1"), at=START + timedelta(seconds=5))
    await reader.refresh()
    assert not holds(reader, token())


async def test_a_later_time_wins_and_an_earlier_one_changes_nothing(processes: Processes) -> None:
    writer, reader = processes.new(), processes.new()
    await writer.revoke(user_member("u1"), at=START + timedelta(seconds=60))
    await writer.revoke(user_member("u1"), at=START + timedelta(seconds=30))
    await reader.refresh()
    assert not holds(reader, token(issued_at=START + timedelta(seconds=45)))


async def test_entries_are_dropped_when_no_token_can_need_them(processes: Processes) -> None:
    writer = processes.new()
    await writer.revoke(session_member("old"))
    processes.clock.advance(timedelta(minutes=21))
    await writer.revoke(session_member("new"))
    client = redis_client(processes.server.url)
    members = await client.zrange(KEY, 0, -1)
    await client.aclose()
    assert members == [b"s:new"]
    await writer.refresh()
    assert set(writer._revoked) == {"s:new"}


async def test_a_redis_that_forgot_does_not_make_a_process_forget(processes: Processes) -> None:
    copy, late = processes.new(), processes.new()
    await copy.revoke(session_member("s1"))
    await copy.refresh()
    processes.server.stop()
    processes.server.start()
    await copy.refresh()
    await late.refresh()
    assert not holds(copy, token())
    assert holds(late, token())  # until the owner of the truth publishes it again
    await copy.revoke(session_member("s1"), at=START)
    await late.refresh()
    assert not holds(late, token())


async def test_a_copy_that_is_too_old_refuses_users_and_lets_services_pass(processes: Processes) -> None:
    copy = processes.new()
    service = Verified(Principal(tenant="default", service="chat"), START.timestamp(), START.timestamp() + 300)
    with pytest.raises(Unavailable):  # never read: it cannot tell
        copy.check(token())
    await copy.refresh()
    processes.server.stop()
    processes.clock.advance(5)
    copy.check(token())
    processes.clock.advance(0.1)
    with pytest.raises(Unavailable):
        copy.check(token())
    copy.check(service)
    processes.server.start()
    await copy.refresh()
    copy.check(token())


async def test_publishing_without_redis_says_so_and_holds_here(processes: Processes) -> None:
    copy = processes.new()
    await copy.refresh()
    processes.server.stop()
    with pytest.raises(Unavailable):
        await copy.revoke(session_member("s1"))
    assert not holds(copy, token())


async def test_a_running_server_follows_redis_through_its_outage(server: RedisServer) -> None:
    client = redis_client(server.url, _IMPATIENT)
    publisher = Revocations(client)
    revocations = Revocations(client, poll_seconds=0.02, stale_seconds=0.3)
    servicer = Echo()
    async with revocations.following(), running_server(binding(servicer), revocations=revocations) as running:
        stub = pb_grpc.EchoServiceStub(running.channel)

        async def code_for(session: str) -> grpc.StatusCode:
            return (await invoke(stub, "Unary", "x", metadata=running.as_user(session=session))).code

        async def answers(session: str, code: grpc.StatusCode) -> bool:
            return await code_for(session) is code

        assert await code_for("s1") is grpc.StatusCode.OK
        await publisher.revoke(session_member("s1"))
        await eventually(lambda: answers("s1", grpc.StatusCode.UNAUTHENTICATED))
        assert await code_for("s2") is grpc.StatusCode.OK
        server.stop()
        await eventually(lambda: answers("s2", grpc.StatusCode.UNAVAILABLE))
        assert (await invoke(stub, "Open", "x")).code is grpc.StatusCode.OK
        assert (await invoke(stub, "Internal", "x", metadata=running.as_service("chat"))).code is grpc.StatusCode.OK
        server.start()
        await eventually(lambda: answers("s2", grpc.StatusCode.OK))
        assert await code_for("s1") is grpc.StatusCode.UNAUTHENTICATED
    await client.aclose()


async def test_a_process_can_start_while_redis_is_down(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    server.stop()
    client = redis_client(server.url, _IMPATIENT)
    async with Revocations(client, poll_seconds=0.02).following() as revocations:
        with pytest.raises(Unavailable):
            revocations.check(token())
        server.start()
        await eventually(revocations.is_fresh)
    await client.aclose()
    assert "cannot be read yet" in caplog.text
