"""Who may open a stream, for whom it speaks, and how it ends: by its caller, its server, its token or its time."""

import asyncio
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from candela.exchange.v1 import exchange_pb2
from services.kit.call import Principal
from services.kit.exchange.door import Door
from services.kit.exchange.options import DoorOptions
from services.kit.settings import ServerSettings
from tests.support.eventually import eventually
from tests.support.grpc_server import running_server
from tests.unit.kit_exchange.models import CONTRACT, InferRequest, Models, embed
from tests.unit.kit_exchange.served import call, cancel, code_of, rarely, served
from tests.unit.kit_exchange.wire import Call, CallFrame, Wire, wire

# --- who is calling


async def test_nobody_and_users_have_no_stream() -> None:
    async with served() as one:
        for metadata in ((), one.server.as_user("u1")):
            async with wire(one.server, metadata) as stream:
                code, _ = await stream.status()
                assert code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


async def test_a_token_for_one_user_speaks_for_no_other() -> None:
    async with served() as one:
        bob = Principal(tenant="default", user="bob")
        async with wire(one.server, one.server.as_service("recognition", bob)) as stream:
            context = exchange_pb2.CallContext(actor=exchange_pb2.Actor(tenant="default", user="ada"))
            reply = await stream.ask(Call(id=1, context=context, embed_texts=embed("a")))
            assert code_of(reply) == grpc.StatusCode.PERMISSION_DENIED.value[0]
            assert (await stream.ask(call(2))).embed_texts.model == "m:a"
            assert one.models.calls[-1].caller.user == "bob"


async def test_a_key_that_is_taken_out_of_use_ends_its_streams() -> None:
    async with served(heartbeat_seconds=0.05) as one:
        await one.wire.send(rarely())
        (one.server.keys.folder / "mesh-jwks.json").write_text('{"keys": []}', encoding="utf-8")
        assert (await one.wire.status())[0] is grpc.StatusCode.UNAUTHENTICATED


# --- idempotency


async def test_a_request_id_comes_with_a_fingerprint_of_the_request() -> None:
    def handlers(models: Models) -> dict[str, Any]:
        return {"infer": models.ModelInfer}

    async with served(handlers) as one:
        for number, text in ((1, "a"), (2, "a"), (3, "b")):
            context = exchange_pb2.CallContext(request_id="r1")
            await one.wire.ask(Call(id=number, context=context, infer=InferRequest(model_name=text)))
        await one.wire.ask(Call(id=4, infer=InferRequest(model_name="a")))
        first, again, other, without = one.models.calls
        assert first.request_id == "r1"
        assert len(first.fingerprint) == 32
        assert first.fingerprint == again.fingerprint != other.fingerprint
        assert (without.request_id, without.fingerprint) == ("", b"")


# --- time


async def test_a_quiet_server_shows_life() -> None:
    async with served(heartbeat_seconds=0.05) as one:
        await one.wire.send(rarely())
        reading = asyncio.create_task(one.wire.reply())
        await eventually(lambda: one.wire.heartbeats > 3)
        reading.cancel()


async def test_a_caller_that_shows_no_life_is_given_up() -> None:
    async with served(heartbeat_seconds=0.05) as one:
        await one.wire.send(call(1, "wait"))
        assert (await one.wire.status())[0] is grpc.StatusCode.UNAVAILABLE
        await eventually(lambda: one.models.cancelled == 1)


async def test_a_caller_that_shows_life_rarely_says_so() -> None:
    async with served(heartbeat_seconds=0.05) as one:
        await one.wire.send(rarely(), call(1))
        await one.wire.reply()
        reading = asyncio.create_task(one.wire.reply())
        await eventually(lambda: one.wire.heartbeats > 8)  # more than three of its own intervals
        await one.wire.send(call(2))
        assert (await reading).id == 2


async def test_a_stream_that_drains_finishes_what_it_has_and_ends() -> None:
    async with served() as one:
        await one.wire.send(call(1, "wait"))
        await eventually(lambda: one.models.waiting)
        one.draining.set()
        word = await one.wire.reply()
        assert (word.id, word.WhichOneof("result")) == (0, "draining")
        assert (await one.wire.ask(call(2))).embed_texts.model == "m:a"  # it was on its way when the word came
        await one.wire.stream.done_writing()
        one.models.answer_waiting()
        assert (await one.wire.reply()).id == 1
        assert (await one.wire.status())[0] is grpc.StatusCode.OK


async def test_a_stream_that_begins_while_the_server_drains_is_told_at_once() -> None:
    async with served() as one:
        one.draining.set()
        async with wire(one.server) as stream:
            assert (await stream.reply()).WhichOneof("result") == "draining"


async def test_a_caller_that_goes_on_while_the_server_drains_is_refused() -> None:
    async with served(drain_seconds=0.1) as one:
        await one.wire.send(call(1, "wait"))
        one.draining.set()
        assert (await one.wire.reply()).WhichOneof("result") == "draining"

        async def refused() -> bool:
            number = len(one.models.began) + 10 + refused.tries  # type: ignore[attr-defined]
            refused.tries += 1  # type: ignore[attr-defined]
            reply = await one.wire.ask(call(number))
            return bool(reply.error.code == grpc.StatusCode.UNAVAILABLE.value[0])

        refused.tries = 0  # type: ignore[attr-defined]
        await eventually(refused)
        one.models.answer_waiting()
        assert (await one.wire.status())[0] is grpc.StatusCode.OK


async def test_a_stream_asks_for_another_when_its_time_has_come() -> None:
    async with served(rotate_seconds=0.05) as one:
        assert (await one.wire.reply()).WhichOneof("result") == "draining"
        assert (await one.wire.ask(call(1))).id == 1


async def test_a_server_that_is_stopped_answers_what_it_accepted() -> None:
    models, draining = Models(), asyncio.Event()
    door = Door(CONTRACT, models.frames(), DoorOptions(sampled=0.0), draining)
    settings = ServerSettings(listen="127.0.0.1:0", metrics_port=0, drain_seconds=5.0)
    async with running_server(*models.bindings(door), service="inference", settings=settings) as server:
        channel = grpc.aio.insecure_channel(server.address)
        stream = channel.stream_stream(
            CONTRACT.path,
            request_serializer=CallFrame.SerializeToString,
            response_deserializer=CONTRACT.reply_frame.FromString,
        )(metadata=server.as_service("recognition"))
        one = Wire(stream)
        await one.send(*(call(number, "wait") for number in range(1, 9)))
        await eventually(lambda: len(models.waiting) == 8)
        draining.set()

        async def finish() -> list[Any]:
            assert (await one.reply()).WhichOneof("result") == "draining"
            await stream.done_writing()
            models.answer_waiting()
            return await one.replies(8)

        finishing = asyncio.create_task(finish())
    assert sorted(reply.id for reply in await finishing) == list(range(1, 9))
    assert await stream.code() is grpc.StatusCode.OK
    await channel.close()


@pytest.mark.parametrize("end", ["answered", "cancelled", "broken", "gone"])
async def test_what_is_in_flight_comes_down_again(end: str) -> None:
    def in_flight() -> float:
        labels = {"service": "candela.inference.v1.EmbeddingService"}
        return REGISTRY.get_sample_value("rpc_server_in_flight", labels) or 0.0

    before = in_flight()
    async with served() as one:
        await one.wire.send(call(1, "wait"), call(2, "wait"), call(3, "not found"), call(4, ""))
        await eventually(lambda: in_flight() == before + 2)
        if end == "answered":
            one.models.answer_waiting()
        elif end == "cancelled":
            await one.wire.send(cancel(1), cancel(2))
        elif end == "broken":
            await one.wire.send(call(5, "wait"), call(5, "wait"))
        else:
            one.wire.stream.cancel()
        await eventually(lambda: in_flight() == before)
