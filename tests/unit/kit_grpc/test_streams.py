"""Streams with a terminal event, and what a handler may do with its context."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from services.kit.pipeline.deadline import Limits
from services.kit.server import Binding
from tests.support.grpc_server import running_server
from tests.unit.kit_grpc.conftest import EchoServer
from tests.unit.kit_grpc.echo import Echo, binding, pb, pb_grpc
from tests.unit.kit_grpc.shapes import Outcome, attributes, finish, invoke


def kinds(seen: Outcome) -> list[str]:
    return [reply.WhichOneof("event") for reply in seen.replies]


async def test_a_failure_before_the_first_event_is_a_status(echo: EchoServer) -> None:
    seen = await invoke(echo.stub, "Events", "not found")
    assert seen.code is grpc.StatusCode.NOT_FOUND
    assert seen.replies == []


async def test_a_failure_after_the_first_event_is_the_terminal_event(echo: EchoServer) -> None:
    seen = await invoke(echo.stub, "Events", "a b then not found")
    assert seen.code is grpc.StatusCode.OK
    assert kinds(seen) == ["part", "part", "error"]
    error = seen.replies[-1].error
    assert error.code == grpc.StatusCode.NOT_FOUND.value[0]
    info = error_details_pb2.ErrorInfo()
    assert error.details[0].Unpack(info)
    assert info.reason == "NOT_FOUND"
    assert [reply.seq for reply in seen.replies] == [1, 2, 3]
    span = await echo.server.last_span()
    assert attributes(span)["rpc.response.status_code"] == "NOT_FOUND"  # told in-band, and a failure all the same


async def test_a_deadline_after_the_first_event_is_told_in_band() -> None:
    async with running_server(binding(Echo()), limits=Limits(stream_seconds=0.2)) as server:
        seen = await invoke(pb_grpc.EchoServiceStub(server.channel), "Events", "a then wait", timeout=None)
    assert kinds(seen) == ["part", "error"]
    assert seen.replies[-1].error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


async def test_a_failure_after_the_terminal_event_is_not_told(
    echo: EchoServer, caplog: pytest.LogCaptureFixture
) -> None:
    seen = await invoke(echo.stub, "Events", "a completed then crash")
    assert seen.code is grpc.StatusCode.OK
    assert kinds(seen) == ["part", "completed"]
    assert "RuntimeError" in caplog.text


async def test_nothing_follows_a_terminal_event(echo: EchoServer) -> None:
    seen = await invoke(echo.stub, "Events", "a completed then more")
    assert kinds(seen) == ["part", "completed"]


async def test_a_finite_stream_never_ends_without_a_terminal_event(echo: EchoServer) -> None:
    seen = await invoke(echo.stub, "Events", "a then nothing")
    assert kinds(seen) == ["part", "error"]
    assert seen.replies[-1].error.code == grpc.StatusCode.INTERNAL.value[0]


async def test_a_stream_without_an_error_member_fails_with_a_status(echo: EchoServer) -> None:
    seen = await invoke(echo.stub, "ServerStream", "a b then not found", metadata=echo.server.as_user())
    assert [reply.text for reply in seen.replies] == ["a", "b"]
    assert seen.code is grpc.StatusCode.NOT_FOUND


async def test_a_wrong_message_midway_ends_the_stream(echo: EchoServer) -> None:
    requests = [pb.EchoRequest(text="fine"), pb.EchoRequest(text="x" * 101), pb.EchoRequest(text="never")]
    seen = await finish(echo.stub.Bidi(iter(requests), metadata=echo.server.as_user(), timeout=5))
    assert [reply.text for reply in seen.replies] == ["fine"]
    assert seen.code is grpc.StatusCode.INVALID_ARGUMENT
    assert seen.detail(error_details_pb2.BadRequest()).field_violations[0].field == "text"


class Writing:
    """A servicer that reads from and writes to its context."""

    async def Bidi(self, requests: Any, context: Any) -> None:
        await context.send_initial_metadata((("early", "yes"),))
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(pb.EchoResponse(text=request.text))

    async def Events(self, request: Any, context: Any) -> None:
        await context.send_initial_metadata((("early", "yes"),))
        if request.text == "fail":
            raise LookupError(request.text)
        await context.write(pb.EchoEvent(seq=5, part=pb.EchoResponse(text="p")))
        if request.text == "late":
            raise LookupError(request.text)
        await context.write(pb.EchoEvent(seq=6, completed=pb.EchoResponse(text="c")))

    def __getattr__(self, name: str) -> Any:
        if name in ("Unary", "ServerStream", "ClientStream", "Open", "Internal", "Admin"):
            return getattr(pb_grpc.EchoServiceServicer(), name)
        raise AttributeError(name)


async def test_reading_from_the_context_validates_too() -> None:
    async with running_server(Binding(pb_grpc.add_EchoServiceServicer_to_server, Writing())) as server:
        stub = pb_grpc.EchoServiceStub(server.channel)
        requests = [pb.EchoRequest(text="fine"), pb.EchoRequest(text="x" * 101)]
        seen = await finish(stub.Bidi(iter(requests), metadata=server.as_user(), timeout=5))
    assert [reply.text for reply in seen.replies] == ["fine"]
    assert seen.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(("text", "metadata_sent"), [("fail", False), ("late", True), ("well", True)])
async def test_initial_metadata_wait_for_the_first_reply(text: str, metadata_sent: bool) -> None:
    async with running_server(Binding(pb_grpc.add_EchoServiceServicer_to_server, Writing())) as server:
        stub = pb_grpc.EchoServiceStub(server.channel)
        call = stub.Events(pb.EchoRequest(text=text), timeout=5)
        seen = await finish(call)
        assert dict(await call.initial_metadata()) == ({"early": "yes"} if metadata_sent else {})
    assert seen.code is (grpc.StatusCode.OK if metadata_sent else grpc.StatusCode.INTERNAL)
    assert kinds(seen) == {"fail": [], "late": ["part", "error"], "well": ["part", "completed"]}[text]
    if text == "late":
        assert seen.replies[-1].seq == 6
