"""Every promise of the pipeline, over all four shapes of a call."""

import asyncio
import hashlib

import grpc
import pytest
from google.rpc import error_details_pb2

from services.kit.call import Principal
from tests.unit.kit_grpc.conftest import EchoServer
from tests.unit.kit_grpc.shapes import SHAPES, attributes, ids, invoke, start

pytestmark = pytest.mark.parametrize("shape", SHAPES)


async def test_a_call_that_goes_well_knows_its_caller(echo: EchoServer, shape: str) -> None:
    seen = await invoke(echo.stub, shape, "hello", metadata=echo.server.as_user("u7"))
    assert seen.code is grpc.StatusCode.OK
    assert seen.replies[-1].text == "hello"
    assert seen.replies[-1].user == "u7"
    call = echo.servicer.calls[0]
    assert call.caller.session == "s1"
    assert call.method == f"/kit_testing.v1.EchoService/{shape}"
    assert "authorization" not in call.metadata


async def test_success_and_failure_carry_the_trace_id(echo: EchoServer, shape: str) -> None:
    for text in ("hello", "not found"):
        seen = await invoke(echo.stub, shape, text, metadata=echo.server.as_user())
        span = await echo.server.last_span()
        assert seen.trailers["candela-trace-id"] == ids(span)[0]
        echo.server.exporter.clear()


async def test_an_error_of_ours_arrives_whole(echo: EchoServer, shape: str) -> None:
    seen = await invoke(echo.stub, shape, "exhausted", metadata=echo.server.as_user())
    assert seen.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert seen.details == "slow down"
    assert (seen.info.reason, seen.info.domain) == ("RATE_LIMITED", "candela.dev")
    bad = seen.detail(error_details_pb2.BadRequest()).field_violations[0]
    assert (bad.field, bad.description, bad.reason) == ("items", "too many", "items.max")
    assert seen.detail(error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() == 1500
    assert seen.detail(error_details_pb2.RequestInfo()).request_id == seen.trailers["candela-trace-id"]


async def test_an_unknown_exception_says_nothing_of_itself(
    echo: EchoServer, shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen = await invoke(echo.stub, shape, "crash", metadata=echo.server.as_user())
    assert seen.code is grpc.StatusCode.INTERNAL
    assert seen.info.reason == "INTERNAL"
    assert b"hunter2" not in seen.status.SerializeToString()
    logged = next(record for record in caplog.records if record.exc_info)
    assert "the secret is hunter2" in str(logged.exc_info)


async def test_without_a_token_nobody_comes_in(echo: EchoServer, shape: str) -> None:
    seen = await invoke(echo.stub, shape, "hello")
    assert seen.code is grpc.StatusCode.UNAUTHENTICATED
    assert seen.info.reason == "TOKEN_MISSING"
    assert echo.servicer.calls == []


async def test_a_token_that_does_not_hold_is_refused(echo: EchoServer, shape: str) -> None:
    seen = await invoke(echo.stub, shape, "hello", metadata=(("authorization", "Bearer nonsense"),))
    assert seen.code is grpc.StatusCode.UNAUTHENTICATED
    assert seen.info.reason == "TOKEN_INVALID"
    assert echo.servicer.calls == []


async def test_a_service_that_acts_for_nobody_is_denied_what_is_a_users(echo: EchoServer, shape: str) -> None:
    seen = await invoke(echo.stub, shape, "hello", metadata=echo.server.as_service("chat"))
    assert seen.code is grpc.StatusCode.PERMISSION_DENIED
    assert seen.info.reason == "PERMISSION_DENIED"
    assert echo.servicer.calls == []


async def test_a_service_that_acts_for_a_user_is_admitted(echo: EchoServer, shape: str) -> None:
    acting = Principal(tenant="t2", user="u9")
    seen = await invoke(echo.stub, shape, "hello", metadata=echo.server.as_service("chat", acting))
    assert seen.code is grpc.StatusCode.OK
    principal = echo.servicer.calls[0].caller
    assert (principal.service, principal.user, principal.tenant) == ("chat", "u9", "t2")


async def test_a_message_against_the_rules_names_its_field(echo: EchoServer, shape: str) -> None:
    items = [{"count": 1}, {"count": 0}]
    seen = await invoke(echo.stub, shape, "hello", metadata=echo.server.as_user(), items=items)
    assert seen.code is grpc.StatusCode.INVALID_ARGUMENT
    bad = seen.detail(error_details_pb2.BadRequest()).field_violations[0]
    assert (bad.field, bad.reason) == ("items[1].count", "int32.gte")
    assert echo.servicer.calls == []


async def test_the_handler_is_cancelled_at_the_deadline(echo: EchoServer, shape: str) -> None:
    seen = await invoke(echo.stub, shape, "wait", metadata=echo.server.as_user(), timeout=0.2)
    assert seen.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(echo.servicer.cancelled.wait(), 2)


async def test_a_caller_who_goes_away_stops_the_work(echo: EchoServer, shape: str) -> None:
    call = start(echo.stub, shape, "wait", metadata=echo.server.as_user())
    reading = asyncio.ensure_future(anext(aiter(call)) if hasattr(call, "__aiter__") else call)
    await asyncio.wait_for(echo.servicer.started.wait(), 2)
    call.cancel()
    await asyncio.wait({reading})
    await asyncio.wait_for(echo.servicer.cancelled.wait(), 2)
    span = await echo.server.last_span()
    assert attributes(span)["rpc.response.status_code"] == "CANCELLED"


async def test_an_abort_by_hand_passes_unchanged(echo: EchoServer, shape: str) -> None:
    seen = await invoke(echo.stub, shape, "abort", metadata=echo.server.as_user())
    assert seen.code is grpc.StatusCode.OUT_OF_RANGE
    assert seen.details == "by hand"
    assert seen.trailers["candela-trace-id"]
    span = await echo.server.last_span()
    assert attributes(span)["rpc.response.status_code"] == "OUT_OF_RANGE"


@pytest.mark.parametrize("text", ["cancelled inside", "timeout inside"])
async def test_a_handlers_own_cancellation_or_timeout_is_a_defect_and_is_answered(
    echo: EchoServer, shape: str, text: str
) -> None:
    seen = await invoke(echo.stub, shape, text, metadata=echo.server.as_user(), timeout=3)
    assert seen.code is grpc.StatusCode.INTERNAL


async def test_each_call_has_one_server_span_under_its_callers(echo: EchoServer, shape: str) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await invoke(echo.stub, shape, "hello", metadata=(*echo.server.as_user(), ("traceparent", parent)))
    span = await echo.server.last_span()
    assert len(echo.server.spans) == 1
    assert span.name == f"kit_testing.v1.EchoService/{shape}"
    assert ids(span)[0] == "0af7651916cd43dd8448eb211c80319c"
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert attributes(span)["rpc.system.name"] == "grpc"


async def test_a_call_knows_its_deadline_and_its_key(echo: EchoServer, shape: str) -> None:
    await invoke(echo.stub, shape, "hello", metadata=echo.server.as_user(), request_id="r1", timeout=2)
    call = echo.servicer.calls[0]
    assert call.deadline is not None
    if shape == "Unary":
        assert call.request_id == "r1"
        assert len(call.fingerprint) == hashlib.sha256().digest_size
    else:  # nothing to repeat on a read, and no single message to find a key in on a stream
        assert call.request_id == ""
