"""Calls to other services: identity, time, trace and errors, over all four shapes."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import grpc
import pytest
import pytest_asyncio

from services.kit import errors as e
from services.kit.call import Call, Principal, current_call, handling
from services.kit.channel import may_be_several, open_channel, target_of
from services.kit.identity import caller_authorization
from services.kit.server import Binding
from services.kit.settings import ServerSettings
from tests.support.eventually import eventually
from tests.support.grpc_server import MeshKeys, RunningServer, running_server
from tests.unit.kit_grpc.conftest import EchoServer
from tests.unit.kit_grpc.echo import Echo, binding, pb, pb_grpc
from tests.unit.kit_grpc.shapes import SHAPES, attributes, ids

PRINCIPAL = Principal(tenant="t1", user="u5", session="s5")


@pytest_asyncio.fixture
async def stub(echo: EchoServer) -> AsyncIterator[Any]:
    """Stub of the echo server as the recognition service calls it."""
    server = echo.server
    identity = server.keys.identity("recognition")
    async with open_channel("user", [server.address], identity, server.telemetry.tracer) as channel:
        yield pb_grpc.EchoServiceStub(channel)


async def ask(stub: Any, shape: str, text: str, timeout: float | None = 5.0) -> list[Any]:
    """Make a call of that shape and return its replies; raises what the call raises."""
    request = pb.EchoRequest(text=text)
    call = getattr(stub, shape)(iter([request]) if shape in ("ClientStream", "Bidi") else request, timeout=timeout)
    if hasattr(call, "__aiter__"):
        return [reply async for reply in call]
    return [await call]


@pytest.mark.parametrize("shape", SHAPES)
class TestEveryShape:
    async def test_a_call_for_a_user_is_made_in_their_name(self, echo: EchoServer, stub: Any, shape: str) -> None:
        acting = Principal(tenant="t1", user="u5", service="chat")
        with handling(Call("/x", acting)):
            replies = await ask(stub, shape, "hello")
        assert replies[-1].user == "u5"
        seen = echo.servicer.calls[0].caller
        assert (seen.service, seen.tenant) == ("recognition", "t1")

    async def test_an_answer_is_an_error_of_our_tree(self, stub: Any, shape: str) -> None:
        with handling(Call("/x", Principal(tenant="t1", user="u5", service="chat"))):
            with pytest.raises(e.NotFound) as missing:
                await ask(stub, shape, "not found")
            with pytest.raises(e.Internal) as failed:
                await ask(stub, shape, "crash")
        assert missing.value.metadata == {"name": "x"}
        assert "hunter2" not in failed.value.message

    async def test_a_refused_identity_is_our_defect(self, stub: Any, shape: str) -> None:
        with pytest.raises(e.Internal):  # no user to act for: the service refuses
            await ask(stub, shape, "hello")

    async def test_the_remaining_time_travels(self, echo: EchoServer, stub: Any, shape: str) -> None:
        acting = Principal(tenant="t1", user="u5", service="chat")
        with handling(Call("/x", acting, deadline=time.monotonic() + 1.0)):
            await ask(stub, shape, "hello", timeout=None)
        seen = echo.servicer.calls[0].deadline
        assert seen is not None
        assert 0 < seen - time.monotonic() <= 1.1  # gRPC rounds a deadline up

    async def test_nothing_is_sent_when_no_time_is_left(self, echo: EchoServer, stub: Any, shape: str) -> None:
        with handling(Call("/x", PRINCIPAL, deadline=time.monotonic() - 0.1)), pytest.raises(e.DeadlineExceeded):
            await ask(stub, shape, "hello")
        assert echo.servicer.calls == []

    async def test_a_deadline_that_passes_is_told_as_such(self, echo: EchoServer, stub: Any, shape: str) -> None:
        acting = Principal(tenant="t1", user="u5", service="chat")
        with handling(Call("/x", acting)), pytest.raises(e.DeadlineExceeded):
            await ask(stub, shape, "wait", timeout=0.2)
        await asyncio.wait_for(echo.servicer.cancelled.wait(), 2)

    async def test_one_trace_holds_both_sides(self, echo: EchoServer, stub: Any, shape: str) -> None:
        tracer = echo.server.telemetry.tracer
        acting = Principal(tenant="t1", user="u5", service="chat")
        with handling(Call("/x", acting)), tracer.start_as_current_span("outer") as outer:
            await ask(stub, shape, "hello")
        await eventually(lambda: len(echo.server.spans) == 3)
        spans = {span.kind.name: span for span in echo.server.spans}
        client, server, root = spans["CLIENT"], spans["SERVER"], spans["INTERNAL"]
        assert root.name == "outer"
        assert outer.get_span_context() == root.get_span_context()
        assert len({ids(span)[0] for span in echo.server.spans}) == 1
        assert client.parent is not None
        assert server.parent is not None
        assert f"{server.parent.span_id:016x}" == ids(client)[1]
        assert f"{client.parent.span_id:016x}" == ids(root)[1]
        assert attributes(client)["server.address"] == "user"
        assert attributes(client)["rpc.response.status_code"] == "OK"

    async def test_a_caller_who_goes_away_stops_the_work_there(self, echo: EchoServer, stub: Any, shape: str) -> None:
        with handling(Call("/x", Principal(tenant="t1", user="u5", service="chat"))):
            asking = asyncio.ensure_future(ask(stub, shape, "wait"))
        await asyncio.wait_for(echo.servicer.started.wait(), 2)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(echo.servicer.cancelled.wait(), 2)
        await eventually(lambda: any(span.kind.name == "CLIENT" for span in echo.server.spans))


async def test_leaving_a_stream_early_stops_it_there(echo: EchoServer, stub: Any) -> None:
    with handling(Call("/x", Principal(tenant="t1", user="u5", service="chat"))):
        async with aclosing(stub.ServerStream(pb.EchoRequest(text="a b then wait"), timeout=5)) as replies:
            assert (await anext(replies)).text == "a"
            await asyncio.wait_for(echo.servicer.started.wait(), 2)
    await asyncio.wait_for(echo.servicer.cancelled.wait(), 2)


async def test_the_contract_decides_the_identity(echo: EchoServer, stub: Any) -> None:
    (_, bearer) = echo.server.as_user("u6")[0]
    caller_authorization.set(bearer)
    with handling(Call("/x", Principal(tenant="default", user="u6", session="s1"))):
        await ask(stub, "Unary", "x")  # for users: their own token goes along
        await ask(stub, "Internal", "x")  # for services: ours, in the user's name
        await ask(stub, "Open", "x")  # for anyone: none
    own, service, public = (call.principal for call in echo.servicer.calls)
    assert (own.user, own.session, own.service) == ("u6", "s1", "")
    assert (service.user, service.session, service.service) == ("u6", "", "recognition")
    assert public is None


async def test_a_service_alone_calls_for_nobody(echo: EchoServer, stub: Any) -> None:
    await ask(stub, "Internal", "x")
    seen = echo.servicer.calls[0].caller
    assert (seen.service, seen.user) == ("recognition", "")


class Passing(Echo):
    """A service that asks another one."""

    def __init__(self, other: Any) -> None:
        super().__init__()
        self.other = other

    async def Open(self, request: Any, context: Any) -> Any:
        return await self.other.Unary(pb.EchoRequest(text=request.text))

    Unary = Open


async def test_a_users_call_passes_through_a_service_as_theirs(echo: EchoServer, stub: Any) -> None:
    passing = Passing(stub)
    async with running_server(
        Binding(pb_grpc.add_EchoServiceServicer_to_server, passing), service="chat", keys=echo.server.keys
    ) as middle:
        reply = await pb_grpc.EchoServiceStub(middle.channel).Unary(
            pb.EchoRequest(text="hi"), metadata=middle.as_user("u4"), timeout=5
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await pb_grpc.EchoServiceStub(middle.channel).Unary(
                pb.EchoRequest(text="not found"), metadata=middle.as_user("u4"), timeout=5
            )
    assert reply.user == "u4"
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def test_a_call_waits_while_the_other_side_restarts(keys: MeshKeys, telemetry_of: RunningServer) -> None:
    address = f"127.0.0.1:{_free_port()}"
    settings = ServerSettings(listen=address, metrics_port=0, drain_seconds=0.2)
    servicer = Echo()
    tracer = telemetry_of.telemetry.tracer
    async with open_channel("user", [address], keys.identity("recognition"), tracer) as channel:
        stub = pb_grpc.EchoServiceStub(channel)
        for _ in range(2):  # before the first start, and after a stop
            asking = asyncio.ensure_future(ask(stub, "Internal", "x"))
            await asyncio.wait({asking}, timeout=0.3)
            assert not asking.done()
            async with running_server(binding(servicer), keys=keys, settings=settings):
                await asking
    assert len(servicer.calls) == 2


async def test_a_service_that_stays_away_is_unavailable_and_named_to_nobody(
    keys: MeshKeys, telemetry_of: RunningServer
) -> None:
    address = f"127.0.0.1:{_free_port()}"
    tracer = telemetry_of.telemetry.tracer
    async with open_channel("user", [address], keys.identity("recognition"), tracer) as channel:
        begun = time.monotonic()
        with pytest.raises(e.Unavailable) as away:
            await ask(pb_grpc.EchoServiceStub(channel), "Internal", "x", timeout=0.5)
        assert time.monotonic() - begun < 2
    assert address not in away.value.message


async def test_several_servers_are_used_in_turn(keys: MeshKeys, telemetry_of: RunningServer) -> None:
    tracer = telemetry_of.telemetry.tracer
    one, two = Echo(), Echo()
    async with (
        running_server(binding(one), keys=keys) as first,
        running_server(binding(two), keys=keys) as second,
        open_channel("user", [first.address, second.address], keys.identity("chat"), tracer) as channel,
    ):
        stub = pb_grpc.EchoServiceStub(channel)

        async def both_were_asked() -> bool:
            await ask(stub, "Internal", "x")
            return min(len(one.calls), len(two.calls)) >= 3

        await eventually(both_were_asked)


class Away(Echo):
    """A server that has lost what it needs."""

    async def Open(self, request: Any, context: Any) -> Any:
        self.calls.append(current_call())
        raise e.Unavailable("not now")

    Internal = Open


async def test_what_only_reads_is_asked_of_another_server(keys: MeshKeys, telemetry_of: RunningServer) -> None:
    tracer = telemetry_of.telemetry.tracer
    away, well = Away(), Echo()
    async with (
        running_server(binding(away), keys=keys) as first,
        running_server(binding(well), keys=keys) as second,
        open_channel("user", [first.address, second.address], keys.identity("chat"), tracer) as channel,
    ):
        stub = pb_grpc.EchoServiceStub(channel)

        async def was_repeated() -> bool:
            await ask(stub, "Open", "x")
            return len(away.calls) >= 3

        await eventually(was_repeated)
        before = len(well.calls)
        outcomes = await asyncio.gather(*(ask(stub, "Internal", "x") for _ in range(10)), return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, e.Unavailable)]
    assert failed  # what may have been done is not sent again
    assert len(failed) + len(well.calls) - before == 10


async def test_one_server_is_asked_once(keys: MeshKeys, telemetry_of: RunningServer) -> None:
    away = Away()
    async with (
        running_server(binding(away), keys=keys) as only,
        open_channel("user", [only.address], keys.identity("chat"), telemetry_of.telemetry.tracer) as channel,
    ):
        with pytest.raises(e.Unavailable):
            await ask(pb_grpc.EchoServiceStub(channel), "Open", "x")
    assert len(away.calls) == 1


async def test_a_server_that_ends_is_left_out_before_it_refuses(keys: MeshKeys, telemetry_of: RunningServer) -> None:
    tracer = telemetry_of.telemetry.tracer
    settings = ServerSettings(listen="127.0.0.1:0", metrics_port=0, drain_seconds=1.0, drain_notice_seconds=0.5)
    one, two, stack = Echo(), Echo(), AsyncExitStack()
    async with running_server(binding(two), keys=keys) as second:
        first = await stack.enter_async_context(running_server(binding(one), keys=keys, settings=settings))
        addresses = [first.address, second.address]
        async with open_channel("user", addresses, keys.identity("chat"), tracer) as channel:
            stub = pb_grpc.EchoServiceStub(channel)
            await eventually(lambda: _both_asked(stub, one, two))
            ending = asyncio.ensure_future(stack.aclose())
            while not ending.done():
                await ask(stub, "Internal", "x")
            await ending
            last = len(one.calls)
            for _ in range(5):
                await ask(stub, "Internal", "x")
    assert len(one.calls) == last


async def _both_asked(stub: Any, one: Echo, two: Echo) -> bool:
    await ask(stub, "Internal", "x")
    return min(len(one.calls), len(two.calls)) >= 1


@pytest_asyncio.fixture
async def telemetry_of(echo: EchoServer) -> RunningServer:
    return echo.server


@pytest.fixture
def keys(echo: EchoServer) -> MeshKeys:
    return echo.server.keys


def test_targets() -> None:
    assert target_of(["localhost:1"]) == "localhost:1"
    assert target_of(["10.0.0.1:1", "10.0.0.2:2"]) == "ipv4:10.0.0.1:1,10.0.0.2:2"
    assert target_of(["[::1]:1", "[::2]:2"]) == "ipv6:[::1]:1,[::2]:2"
    for addresses in ([], ["a:1", "b:2"], ["10.0.0.1:1", "[::1]:1"]):
        with pytest.raises(ValueError, match=r"address"):
            target_of(addresses)


def test_several_may_be_behind_a_name() -> None:
    assert may_be_several(["user.candela.svc:8090"])
    assert may_be_several(["127.0.0.1:1", "127.0.0.1:2"])
    assert not any(may_be_several([one]) for one in ("127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/user.sock"))


def test_outside_of_a_call_there_is_none() -> None:
    with pytest.raises(e.Internal):
        current_call()
