"""A call means the same through its unary method and through Exchange: one suite, each case through every door."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import REGISTRY

from candela.exchange.v1 import exchange_pb2
from candela.inference.v1 import embedding_service_pb2_grpc
from kserve import grpc_service_pb2_grpc
from services.kit.access import Access, Level
from services.kit.call import Principal
from services.kit.exchange.door import Door
from services.kit.exchange.options import DoorOptions
from services.kit.grpc_status import STATUS_TRAILER
from services.kit.pipeline.deadline import Limits
from tests.support.eventually import eventually
from tests.support.grpc_server import RunningServer, running_server
from tests.unit.kit_exchange.models import CONTRACT, SERVICES_ONLY, EmbedRequest, InferRequest, Models, embed
from tests.unit.kit_exchange.wire import Call, Wire, wire

ADA = Principal(tenant="acme", user="ada", api_key="k1")
DOORS = ("unary", "frames", "tasks")


@dataclass
class Opened:
    """A server and one of its doors: `call` sends a request and returns its response or its status."""

    name: str
    server: RunningServer
    models: Models
    call: Callable[..., Coroutine[Any, Any, Any]]
    wire: Wire | None


def _timeout(call: Any, timeout: float | None) -> None:
    if timeout is not None:
        call.context.timeout.FromMilliseconds(int(timeout * 1000))


async def _unary(server: RunningServer, request: Any, *, timeout: float | None, actor: Principal | None) -> Any:
    metadata = server.as_service("recognition", actor)
    method = (
        embedding_service_pb2_grpc.EmbeddingServiceStub(server.channel).EmbedTexts
        if isinstance(request, EmbedRequest)
        else grpc_service_pb2_grpc.GRPCInferenceServiceStub(server.channel).ModelInfer
    )
    call = method(request, metadata=metadata, timeout=timeout)
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raw = dict(error.trailing_metadata() or ()).get(STATUS_TRAILER)
        return status_pb2.Status.FromString(raw) if raw else status_pb2.Status(code=error.code().value[0])


async def _exchange(stream: Wire, request: Any, *, timeout: float | None, actor: Principal | None) -> Any:
    member = "embed_texts" if isinstance(request, EmbedRequest) else "infer"
    call = Call(id=1, **{member: request})
    _timeout(call, timeout)
    if actor is not None:
        call.context.actor.CopyFrom(exchange_pb2.Actor(tenant=actor.tenant, user=actor.user, api_key=actor.api_key))
    reply = await stream.ask(call)
    assert reply.id == 1
    assert reply.last
    return getattr(reply, reply.WhichOneof("result"))


@pytest.fixture(params=DOORS)
async def door(request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    async with opened(request.param) as one:
        yield one


class opened:  # noqa: N801 - reads as a function
    """Serve the models and open one door to them."""

    def __init__(self, name: str, infer: Access = SERVICES_ONLY) -> None:
        self._name = name
        self._infer = infer

    async def __aenter__(self) -> Opened:
        models = Models()
        handlers = models.behaviours() if self._name == "tasks" else models.frames()
        door = Door(CONTRACT, handlers, DoorOptions(sampled=0.0))
        limits = Limits(unary_seconds=5.0, stream_seconds=5.0)
        self._serving = running_server(*models.bindings(door, self._infer), service="inference", limits=limits)
        server = await self._serving.__aenter__()
        if self._name == "unary":
            self._wire = None
            return Opened(
                self._name,
                server,
                models,
                lambda r, timeout=None, actor=None: _unary(server, r, timeout=timeout, actor=actor),
                None,
            )
        self._wire = wire(server)
        stream = await self._wire.__aenter__()
        return Opened(
            self._name,
            server,
            models,
            lambda r, timeout=None, actor=None: _exchange(stream, r, timeout=timeout, actor=actor),
            stream,
        )

    async def __aexit__(self, *_: object) -> None:
        if self._wire is not None:
            await self._wire.__aexit__(None, None, None)
        await self._serving.__aexit__(None, None, None)


def facts(status: Any) -> tuple[Any, ...]:
    """Return what a status says, without the trace id, which differs from call to call."""
    details = []
    for detail in status.details:
        if detail.Is(error_details_pb2.RequestInfo.DESCRIPTOR):
            info = error_details_pb2.RequestInfo()
            detail.Unpack(info)
            assert len(info.request_id) == 32
            continue
        details.append((detail.type_url, detail.value))
    return status.code, status.message, tuple(sorted(details))


async def test_a_response_is_the_same(door: Opened) -> None:
    assert (await door.call(embed("hello"))).model == "m:hello"
    assert door.models.calls[-1].method == "/candela.inference.v1.EmbeddingService/EmbedTexts"


REFUSED = {
    "unknown model": embed("not found"),
    "overloaded": embed("exhausted"),
    "unavailable": embed("unavailable"),
    "a defect": embed("crash"),
    "nothing to do": embed(),
    "a field too long": EmbedRequest(model="x" * 101, texts=["a"]),
    "two fields wrong": EmbedRequest(model="x" * 101, texts=["a", ""]),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_is_the_same(name: str) -> None:
    answers = {}
    for door_name in DOORS:
        async with opened(door_name) as door:
            answers[door_name] = facts(await door.call(REFUSED[name]))
    assert answers["frames"] == answers["tasks"] == answers["unary"]
    code, message, details = answers["unary"]
    assert code not in (0, grpc.StatusCode.UNKNOWN.value[0])
    assert any("ErrorInfo" in url for url, _ in details)
    assert "hunter2" not in message


async def test_a_rule_that_is_broken_is_named(door: Opened) -> None:
    status = await door.call(embed())
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert [one.field for one in bad.field_violations] == ["texts"]
    assert door.models.began == []


@pytest.mark.parametrize("access", [Access(Level.PERMISSION, "write:admin"), Access(Level.AUTHENTICATED)])
async def test_a_method_that_is_closed_to_the_caller_is_closed_at_every_door(access: Access) -> None:
    answers = {}
    for name in DOORS:
        async with opened(name, access) as door:
            answers[name] = facts(await door.call(InferRequest(model_name="a")))
            assert door.models.began == []
    assert answers["frames"] == answers["tasks"] == answers["unary"]
    assert answers["unary"][0] == grpc.StatusCode.PERMISSION_DENIED.value[0]


async def test_the_caller_is_the_service_for_its_user(door: Opened) -> None:
    await door.call(embed("a"), actor=ADA)
    principal = door.models.calls[-1].principal
    assert principal == Principal(tenant="acme", user="ada", api_key="k1", service="recognition")


async def test_a_service_may_act_for_nobody(door: Opened) -> None:
    await door.call(embed("a"))
    assert door.models.calls[-1].principal == Principal(tenant="default", service="recognition")


async def test_a_user_is_admitted_through_the_service(door: Opened) -> None:
    async with opened(door.name, Access(Level.AUTHENTICATED)) as other:
        answer = await other.call(InferRequest(model_name="a"), actor=ADA)
        assert answer.model_name == "m:a"


async def test_time_that_runs_out_ends_the_call_and_its_work(door: Opened) -> None:
    status = await door.call(embed("wait"), timeout=0.5)
    assert status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    await eventually(lambda: door.models.cancelled == 1)


async def test_a_handler_knows_its_deadline(door: Opened) -> None:
    await door.call(embed("a"), timeout=4.0)
    left = (door.models.calls[0].deadline or 0) - time.monotonic()
    assert 0.0 < left <= 4.1, "gRPC rounds what it sends up, and the server has a limit of 5 s"


async def test_a_call_without_deadline_gets_the_servers(door: Opened) -> None:
    await door.call(embed("a"))
    left = (door.models.calls[0].deadline or 0) - time.monotonic()
    assert 0.0 < left <= 5.0


async def test_a_caller_that_leaves_ends_the_work(door: Opened) -> None:
    leaving = asyncio.create_task(door.call(embed("wait")))
    await eventually(lambda: door.models.began == ["wait"])
    if door.wire is None:
        leaving.cancel()
    else:
        cancel = Call(id=1)
        cancel.cancel.SetInParent()
        await door.wire.send(cancel)
        status = await leaving
        assert status.code == grpc.StatusCode.CANCELLED.value[0]
    await eventually(lambda: door.models.cancelled == 1)


@pytest.mark.parametrize(("text", "code"), [("a", "OK"), ("not found", "NOT_FOUND")])
async def test_a_call_is_counted(door: Opened, text: str, code: str) -> None:
    labels = {"service": "candela.inference.v1.EmbeddingService", "method": "EmbedTexts", "code": code}

    def count() -> float:
        return REGISTRY.get_sample_value("rpc_server_requests_total", labels) or 0.0

    before = count()
    await door.call(embed(text))
    await eventually(lambda: count() == before + 1)


async def test_a_defect_is_always_in_a_trace(door: Opened) -> None:
    await door.call(embed("crash"))
    spans = await eventually(
        lambda: [span for span in door.server.spans if span.name.endswith("EmbeddingService/EmbedTexts")]
    )
    assert dict(spans[0].attributes or {})["rpc.response.status_code"] == "INTERNAL"
