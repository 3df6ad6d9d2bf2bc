"""Calls through an Exchange to real servers: what is carried, what fails, and what is bounded."""

import asyncio
import time
from contextlib import aclosing
from typing import Any

import pytest

from candela.exchange.v1 import exchange_pb2
from candela.inference.v1 import embedding_service_pb2_grpc, plate_service_pb2, plate_service_pb2_grpc
from services.kit.call import Call, Principal, handling
from services.kit.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from services.kit.exchange.stubs import ExchangeChannel
from tests.support.eventually import eventually
from tests.unit.kit_exchange.models import InferRequest, Models, embed
from tests.unit.kit_exchange.replicas import Mesh, ask, infer

ADA = Principal(tenant="acme", user="ada", api_key="k1")

# --- what is carried


async def test_calls_of_one_turn_leave_in_one_frame(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        answers = await asyncio.gather(*(ask(exchange, f"t{number}") for number in range(50)))
        assert answers == [f"m:t{number}" for number in range(50)]
        assert one.models.sizes == [50]


async def test_a_call_carries_the_user_the_time_and_the_trace_of_the_one_being_handled(mesh: Mesh) -> None:
    one = await mesh.replica()
    handled = Call("/x/Y", principal=ADA, deadline=time.monotonic() + 3.0)
    async with mesh.exchange(one) as exchange:
        with mesh.telemetry.tracer.start_as_current_span("outer") as outer, handling(handled):
            await ask(exchange, "a", timeout=30.0)
        call = one.models.calls[-1]
        assert call.principal == Principal(tenant="acme", user="ada", api_key="k1", service="recognition")
        assert 1.0 < (call.deadline or 0) - time.monotonic() <= 3.0
        trace_id = outer.get_span_context().trace_id
        served = await eventually(lambda: one.server.spans)
        assert {span.context.trace_id for span in served} == {trace_id}
        names = [(span.name, span.kind.name) for span in mesh.exporter.get_finished_spans()]
        assert ("candela.inference.v1.EmbeddingService/EmbedTexts", "CLIENT") in names


async def test_a_call_without_a_trace_makes_no_span(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        await ask(exchange, "a")
    assert mesh.exporter.get_finished_spans() == ()
    assert one.server.spans == ()


async def test_a_part_of_the_calls_without_a_trace_begins_one(mesh: Mesh) -> None:
    one = await mesh.replica(sampled=0.5)
    async with mesh.exchange(one) as exchange:
        await asyncio.gather(*(ask(exchange, "a") for _ in range(200)))
    assert 50 <= len(one.server.spans) <= 150


async def test_a_request_id_travels(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        await infer(exchange, "a", request_id="r1")
    assert one.models.calls[-1].request_id == "r1"


async def test_more_urgent_calls_go_first(mesh: Mesh) -> None:
    one = await mesh.replica(window=1)
    async with mesh.exchange(one) as exchange:
        await ask(exchange, "first")
        calls = [
            ask(exchange, "low", priority=exchange_pb2.PRIORITY_LOW),
            ask(exchange, "normal"),
            ask(exchange, "high", priority=exchange_pb2.PRIORITY_HIGH),
        ]
        await asyncio.gather(*calls)
        assert one.models.began == ["first", "high", "normal", "low"]


async def test_stubs_work_over_it(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        channel = ExchangeChannel(exchange)
        stub: Any = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
        assert (await stub.EmbedTexts(embed("a"), timeout=5.0)).model == "m:a"
        plates: Any = plate_service_pb2_grpc.PlateServiceStub(channel)
        with pytest.raises(Internal):
            await plates.DetectPlates(plate_service_pb2.DetectPlatesRequest())


# --- failures


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("not found", NotFound, "MODEL_NOT_FOUND"),
        ("exhausted", ResourceExhausted, "OVERLOADED"),
        ("crash", Internal, "INTERNAL"),
        ("unavailable", Unavailable, "UNAVAILABLE"),
        ("", InvalidArgument, "INVALID_ARGUMENT"),
    ],
)
async def test_errors_are_those_of_our_tree(mesh: Mesh, text: str, kind: type[Exception], reason: str) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        with pytest.raises(kind) as caught:
            await ask(exchange, text)
        assert caught.value.reason == reason  # type: ignore[attr-defined]  # every error of the tree has one


async def test_time_that_runs_out(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        await ask(exchange, "warm")
        with pytest.raises(DeadlineExceeded):
            await ask(exchange, "wait", timeout=0.5)
        await eventually(lambda: one.models.cancelled == 1)
        with pytest.raises(DeadlineExceeded):
            await ask(exchange, "a", timeout=0.0)


async def test_a_caller_that_leaves_frees_the_server(mesh: Mesh) -> None:
    one = await mesh.replica(window=1)
    async with mesh.exchange(one) as exchange:
        leaving = asyncio.create_task(ask(exchange, "wait"))
        await eventually(lambda: one.models.waiting)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await eventually(lambda: one.models.cancelled == 1)
        assert await ask(exchange, "next") == "m:next"  # its place in the window is free again


async def test_a_server_that_is_not_there_is_waited_for_a_moment(mesh: Mesh) -> None:
    async with mesh.exchange("127.0.0.1:1", connect_seconds=0.1) as exchange:
        with pytest.raises(Unavailable):
            await ask(exchange, "a")


async def test_a_server_that_comes_late_is_found(mesh: Mesh) -> None:
    gone = await mesh.replica()
    address = gone.address
    await gone.stop()
    async with mesh.exchange(address) as exchange:
        waiting = asyncio.create_task(ask(exchange, "a"))
        await asyncio.sleep(0)
        await mesh.replica("late", listen=address)
        assert await waiting == "late:a"


async def test_what_waits_is_bounded(mesh: Mesh) -> None:
    async with mesh.exchange("127.0.0.1:1", connect_seconds=0.2, waiting_calls=2) as exchange:
        waiting = [asyncio.create_task(ask(exchange, "a")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted):
            await ask(exchange, "b")
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in results] == [Unavailable, Unavailable]
        with pytest.raises(Unavailable):  # there is room again
            await ask(exchange, "c")


async def test_a_server_without_credit_is_overloaded_after_a_while(mesh: Mesh) -> None:
    one = await mesh.replica(window=1)
    async with mesh.exchange(one, credit_seconds=0.1) as exchange:
        first = asyncio.create_task(ask(exchange, "wait"))
        await eventually(lambda: one.models.waiting)
        with pytest.raises(ResourceExhausted) as caught:
            await ask(exchange, "a")
        assert caught.value.reason == "OVERLOADED"
        one.models.answer_waiting()
        await first


async def test_calls_end_when_the_exchange_closes(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        waiting = asyncio.create_task(ask(exchange, "wait"))
        await eventually(lambda: one.models.waiting)
    with pytest.raises(Unavailable):
        await waiting


# --- large calls


async def test_large_calls_have_a_stream_of_their_own(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one, frame_bytes=4000) as exchange:
        large = InferRequest(model_name="large", raw_input_contents=[b"x" * 3_000_000])
        await asyncio.gather(exchange.call("infer", large), infer(exchange, "both streams are open"))
        one.models.began.clear()
        answers = await asyncio.gather(
            *(exchange.call("infer", large) for _ in range(5)), *(infer(exchange, f"s{n}") for n in range(20))
        )
        assert [answer.model_name for answer in answers[:5]] == ["m:large"] * 5
        assert one.models.began.count("large") == 5
        assert one.models.began[-1] == "large"  # no small one waited behind all of them, though they were asked first


# --- many replies


def many(models: Models) -> dict[str, Any]:
    return {"embed_texts": models.many}


async def test_many_replies_come_in_order(mesh: Mesh) -> None:
    one = await mesh.replica(handlers=many)
    async with mesh.exchange(one, reply_window=8) as exchange:
        texts = [f"t{number}" for number in range(200)]
        replies = [reply.model async for reply in exchange.stream("embed_texts", embed(*texts))]
        assert replies == [f"m:{text}" for text in texts]


async def test_a_reader_that_waits_holds_its_server_up_and_nobody_else(mesh: Mesh) -> None:
    one = await mesh.replica(handlers=many)
    async with mesh.exchange(one, reply_window=8) as exchange:
        texts = [f"t{number}" for number in range(200)]
        async with aclosing(exchange.stream("embed_texts", embed(*texts))) as replies:
            assert (await anext(replies)).model == "m:t0"
            assert await infer(exchange, "b") == "m:b"
            assert len(one.models.began) <= 12
        await eventually(lambda: not any("t199" in text for text in one.models.began))


async def test_a_stream_that_fails_says_so_after_what_came(mesh: Mesh) -> None:
    one = await mesh.replica(handlers=many)
    async with mesh.exchange(one) as exchange:
        replies = exchange.stream("embed_texts", embed("a", "not found"))
        assert (await anext(replies)).model == "m:a"
        with pytest.raises(NotFound):
            await anext(replies)
        with pytest.raises(StopAsyncIteration):
            await anext(replies)


async def test_leaving_a_stream_early_ends_its_work(mesh: Mesh) -> None:
    one = await mesh.replica(handlers=many)
    async with mesh.exchange(one) as exchange:
        async with aclosing(exchange.stream("embed_texts", embed("a", "wait", "b"))) as replies:
            await anext(replies)
            await eventually(lambda: "wait" in one.models.began)
        await eventually(lambda: one.models.cancelled == 1)


async def test_a_call_too_large_for_the_server_fails_and_others_go_on(mesh: Mesh) -> None:
    one = await mesh.replica(max_receive_bytes=100_000)
    async with mesh.exchange(one, frame_bytes=50_000) as exchange:
        small = asyncio.create_task(ask(exchange, "wait"))
        large = exchange.call("embed_texts", embed(*("x" * 30_000 for _ in range(10))))
        with pytest.raises(ResourceExhausted):
            await large
        one.models.answer_waiting()
        assert await small == "m:wait"
        assert await infer(exchange, "y" * 60_000) == f"m:{'y' * 60_000}"


async def test_a_call_too_large_for_any_server_is_not_sent(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one, call_bytes=1000) as exchange:
        with pytest.raises(ResourceExhausted):
            await ask(exchange, "x" * 2000)
        assert await ask(exchange, "x") == "m:x"
    assert one.models.began == ["x"]


async def test_calls_that_cannot_leave_wait_at_home(mesh: Mesh) -> None:
    one = await mesh.replica(held_bytes=1000)
    async with mesh.exchange(one, unsent_bytes=20_000, frame_bytes=5000, waiting_calls=100_000) as exchange:
        calls = [asyncio.create_task(ask(exchange, "wait")) for _ in range(2)]
        await eventually(lambda: one.models.waiting)
        filler = [asyncio.create_task(infer(exchange, "x" * 4000)) for _ in range(1000)]
        await asyncio.sleep(0)
        await eventually(lambda: exchange._book.waiting > 0)
        assert exchange._book.small[0].outbox.unsent < 30_000
        one.models.answer_waiting()
        await asyncio.gather(*calls, *filler)
