"""The pipeline without gRPC: one item of a stream that carries many calls."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from observability.telemetry import start_telemetry
from services.kit.access import permissions_of
from services.kit.call import Principal, current_call
from services.kit.errors import DeadlineExceeded, InvalidArgument, NotFound
from services.kit.pipeline.authentication import Authenticator
from services.kit.pipeline.core import Pipeline
from services.kit.pipeline.deadline import Limits, time_allowed
from services.kit.pipeline.methods import Methods
from services.kit.pipeline.requests import fingerprint_of, request_id_of
from tests.support.eventually import eventually
from tests.support.grpc_server import MeshKeys
from tests.unit.kit_grpc.echo import pb

USER = Principal(tenant="default", user="u1", role="FREE", permissions=permissions_of("FREE"))
METHODS = Methods()
UNARY = METHODS.get("/kit_testing.v1.EchoService/Unary")
ADMIN = METHODS.get("/kit_testing.v1.EchoService/Admin")
READ = METHODS.get("/kit_testing.v1.EchoService/ServerStream")


class Door:
    def __init__(self, folder: Path) -> None:
        self.exporter = InMemorySpanExporter()
        telemetry = start_telemetry("inference", processors=[SimpleSpanProcessor(self.exporter)])
        authenticator = Authenticator(MeshKeys(folder).verifier("inference"))
        self.pipeline = Pipeline(tracer=telemetry.tracer, authenticator=authenticator)

    async def item(self, info: Any, message: Any, work: Any, **changes: Any) -> Any:
        options: dict[str, Any] = {"principal": USER, "headers": {}, "remaining": 5.0} | changes
        return await self.pipeline.item(info, message, work, **options)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path / "keys")


def reason(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


async def test_an_item_is_handled_like_a_call(door: Door) -> None:
    async def work() -> Any:
        call = current_call()
        return call.caller.user, call.request_id, len(call.fingerprint)

    reply = await door.item(UNARY, pb.EchoRequest(text="a", request_id="r1"), work)
    assert reply == ("u1", "r1", 32)
    await eventually(lambda: len(door.exporter.get_finished_spans()) == 1)
    assert door.exporter.get_finished_spans()[0].name == "kit_testing.v1.EchoService/Unary"


@pytest.mark.parametrize(
    ("info", "message", "changes", "expected"),
    [
        (ADMIN, pb.EchoRequest(), {}, "PERMISSION_DENIED"),
        (UNARY, pb.EchoRequest(), {"principal": None}, "TOKEN_MISSING"),
        (UNARY, pb.EchoRequest(text="x" * 101), {}, "INVALID_ARGUMENT"),
        (UNARY, pb.EchoRequest(), {"remaining": 0.0}, "DEADLINE_EXCEEDED"),
        (UNARY, pb.EchoRequest(), {"remaining": 0.05}, "DEADLINE_EXCEEDED"),
        (UNARY, pb.EchoRequest(text="gone"), {}, "NOT_FOUND"),
        (UNARY, pb.EchoRequest(text="crash"), {}, "INTERNAL"),
    ],
)
async def test_an_item_that_fails_fails_alone(
    door: Door, info: Any, message: Any, changes: dict[str, Any], expected: str
) -> None:
    started = []

    async def work() -> Any:
        started.append(message.text)
        if message.text == "gone":
            raise NotFound("gone")
        if message.text == "crash":
            raise RuntimeError("hunter2")
        await asyncio.Event().wait()

    status = await door.item(info, message, work, **changes)
    assert isinstance(status, status_pb2.Status)
    assert reason(status) == expected
    assert bool(started) == (message.text in ("gone", "crash") or changes.get("remaining") == 0.05)
    assert b"hunter2" not in status.SerializeToString()


async def test_a_cancelled_item_is_cancelled(door: Door) -> None:
    waiting = asyncio.Event()

    async def work() -> None:
        waiting.set()
        await asyncio.Event().wait()

    item = asyncio.ensure_future(door.item(UNARY, pb.EchoRequest(), work))
    await waiting.wait()
    item.cancel()
    with pytest.raises(asyncio.CancelledError):
        await item


text = st.text(max_size=20)


@given(first=st.tuples(text, text), second=st.tuples(text, text))
def test_fingerprints_differ_exactly_when_requests_do(first: tuple[str, str], second: tuple[str, str]) -> None:
    one, two = (pb.EchoRequest(text=words, request_id=key) for words, key in (first, second))
    before = one.SerializeToString()
    assert (fingerprint_of(UNARY, one) == fingerprint_of(UNARY, two)) == (first[0] == second[0])
    assert one.SerializeToString() == before
    assert fingerprint_of(UNARY, one) != fingerprint_of(ADMIN, one)


def test_where_a_request_id_comes_from() -> None:
    message, header = pb.EchoRequest(request_id="r1"), {"idempotency-key": "k1"}
    assert request_id_of(UNARY, message, header) == "r1"
    assert request_id_of(READ, message, header) == ""  # nothing is done twice by a read
    raw = METHODS.get("/grpc.health.v1.Health/Check")  # its request has no request_id
    assert request_id_of(raw, None, header) == "k1"
    with pytest.raises(InvalidArgument):
        request_id_of(raw, None, {"idempotency-key": "k" * 129})


async def test_a_large_request_is_fingerprinted_too(door: Door) -> None:
    async def work() -> bytes:
        return current_call().fingerprint

    message = pb.EchoRequest(request_id="r1", items=[{"count": 1}] * 400_000)
    assert await door.item(UNARY, message, work) == fingerprint_of(UNARY, message)


def test_time_is_the_lesser_of_the_callers_and_ours() -> None:
    limits = Limits(unary_seconds=10, stream_seconds=100)
    assert time_allowed(UNARY, None, limits) == 10
    assert time_allowed(READ, None, limits) == 100
    assert time_allowed(UNARY, 3, limits) == 3
    assert time_allowed(UNARY, 30, limits) == 10
    with pytest.raises(DeadlineExceeded):
        time_allowed(UNARY, 0, limits)
