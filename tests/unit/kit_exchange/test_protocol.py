"""What the server's side of the stream does with every frame and word of the protocol, honest or not."""

import asyncio
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candela.exchange.v1 import exchange_pb2
from services.kit.exchange.door import Door, Frames
from services.kit.exchange.options import DoorOptions
from tests.support.eventually import eventually
from tests.support.grpc_server import running_server
from tests.unit.kit_exchange.models import CONTRACT, EmbedResponse, Models, embed
from tests.unit.kit_exchange.served import call, cancel, code_of, credit, served
from tests.unit.kit_exchange.wire import Call, CallFrame, wire

# --- frames


async def test_the_calls_of_a_frame_are_handled_together_and_answered_together() -> None:
    async with served() as one:
        await one.wire.send(*(call(number) for number in range(1, 33)))
        replies = await one.wire.replies(32)
        assert [reply.id for reply in replies] == list(range(1, 33))
        assert one.models.sizes == [32]
        assert one.wire.frames == [32]


def echo(items: Any) -> None:
    for incoming in items:
        incoming.reply(EmbedResponse(model=incoming.request.texts[0]))


async def test_a_large_reply_travels_alone() -> None:
    def handlers(_: Models) -> dict[str, Any]:
        return {"embed_texts": Frames(echo)}

    async with served(handlers, frame_bytes=1000) as one:
        await one.wire.send(call(1, "a"), call(2, "b" * 5000), call(3, "c"))
        replies = await one.wire.replies(3)
        assert [len(reply.embed_texts.model) for reply in replies] == [1, 5000, 1]
        assert one.wire.frames == [1, 1, 1]


async def test_an_answer_beyond_the_largest_message_fails_its_call_alone() -> None:
    def handlers(_: Models) -> dict[str, Any]:
        return {"embed_texts": Frames(echo)}

    async with served(handlers, reply_bytes=1000) as one:
        await one.wire.send(call(1, "b" * 5000), call(2, "c"))
        first, second = await one.wire.replies(2)
        assert code_of(first) == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert second.embed_texts.model == "c"


async def test_a_handler_that_raises_fails_what_it_has_not_answered() -> None:
    def handlers(_: Models) -> dict[str, Any]:
        def answer(items: Any) -> None:
            items[0].reply(EmbedResponse(model="first"))
            raise RuntimeError("the secret is hunter2")

        return {"embed_texts": Frames(answer)}

    async with served(handlers) as one:
        await one.wire.send(call(1), call(2), call(3))
        first, *others = await one.wire.replies(3)
        assert first.embed_texts.model == "first"
        assert [code_of(other) for other in others] == [grpc.StatusCode.INTERNAL.value[0]] * 2
        assert "hunter2" not in str(others)


# --- credit


async def test_the_window_is_told_first_and_a_call_beyond_it_is_refused() -> None:
    async with served(window=2) as one:
        await one.wire.send(call(1, "wait"), call(2, "wait"), call(3))
        refused = await one.wire.reply()
        assert one.wire.credit == 2
        assert (refused.id, code_of(refused)) == (3, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
        one.models.answer_waiting()
        await one.wire.replies(2)
        assert (await one.wire.ask(call(4))).embed_texts.model == "m:a"


MANY = [f"part {number}" for number in range(10)]


def many_in_frames(models: Models) -> dict[str, Any]:
    """Answer each text with a reply of its own, all at once."""

    def answer(items: Any) -> None:
        for incoming in items:
            for text in incoming.request.texts:
                incoming.reply(EmbedResponse(model=text), last=False)
            incoming.finish()

    return {"embed_texts": Frames(answer)}


def many_in_tasks(models: Models) -> dict[str, Any]:
    return {"embed_texts": models.many}


@pytest.mark.parametrize("handlers", [many_in_frames, many_in_tasks])
async def test_many_replies_come_in_order_and_one_is_the_last(handlers: Any) -> None:
    async with served(handlers) as one:
        await one.wire.send(Call(id=1, embed_texts=embed(*MANY)))
        *replies, last = await one.wire.replies(11)
        assert [reply.embed_texts.model.removeprefix("m:") for reply in replies] == MANY
        assert [reply.last for reply in replies] == [False] * 10
        assert last.last
        assert last.WhichOneof("result") is None


@pytest.mark.parametrize("handlers", [many_in_frames, many_in_tasks])
async def test_replies_wait_for_their_credit(handlers: Any) -> None:
    async with served(handlers) as one:
        await one.wire.send(Call(id=1, embed_texts=embed(*MANY)), credit(1, 3))
        await one.wire.replies(3)
        assert (await one.wire.ask(Call(id=2, embed_texts=embed("b")))).id == 2  # nothing of call 1 came in between
        assert (await one.wire.reply()).id == 2
        await one.wire.send(credit(1, 4))
        assert [reply.embed_texts.model.removeprefix("m:") for reply in await one.wire.replies(4)] == MANY[3:7]
        await one.wire.send(credit(1, 100))
        *replies, last = await one.wire.replies(4)
        assert [reply.last for reply in replies] == [False] * 3
        assert last.last


async def test_a_caller_that_takes_no_replies_is_bounded_in_memory() -> None:
    async with served(many_in_frames, unsent_bytes=2000) as one:
        await one.wire.send(Call(id=1, embed_texts=embed(*("x" * 500 for _ in range(10)))), credit(1, 1))
        await one.wire.reply()
        assert code_of(await one.wire.reply()) == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert not (await one.wire.ask(call(2))).last  # the stream goes on


async def test_a_cancelled_call_sends_no_more() -> None:
    async with served(many_in_tasks) as one:
        await one.wire.send(Call(id=1, embed_texts=embed("a", "wait", "b")))
        await one.wire.reply()
        await eventually(lambda: "wait" in one.models.began)
        assert code_of(await one.wire.ask(cancel(1))) == grpc.StatusCode.CANCELLED.value[0]
        assert one.models.began == ["a", "wait"]
        await eventually(lambda: one.models.cancelled == 1)


async def test_a_failure_after_some_replies_is_the_last_one() -> None:
    async with served(many_in_tasks) as one:
        await one.wire.send(Call(id=1, embed_texts=embed("a", "crash", "b")))
        await one.wire.reply()
        assert code_of(await one.wire.reply()) == grpc.StatusCode.INTERNAL.value[0]


async def test_a_stream_is_not_read_on_while_its_requests_fill_the_memory() -> None:
    async with served(held_bytes=1000) as one:
        await one.wire.send(call(1, "wait"))
        await one.wire.send(Call(id=2, embed_texts=embed("wait", "x" * 2000)))
        await eventually(lambda: len(one.models.waiting) == 2)
        await one.wire.send(call(3, "late"))
        async with wire(one.server) as other:
            await other.ask(call(1, "meanwhile"))
        assert one.models.began == ["wait", "wait", "meanwhile"]
        one.models.answer_waiting()
        assert [reply.id for reply in await one.wire.replies(3)] == [1, 2, 3]


# --- ids and words


@pytest.mark.parametrize("calls", [[call(0)], [call(1, "wait"), call(1)], []], ids=["zero", "twice", "empty frame"])
async def test_a_stream_that_breaks_the_protocol_ends(calls: list[Any]) -> None:
    async with served() as one:
        await one.wire.send(*calls)
        assert (await one.wire.status())[0] is grpc.StatusCode.INVALID_ARGUMENT
        await eventually(lambda: one.models.cancelled == len(one.models.waiting))


async def test_more_calls_than_a_frame_may_have_end_the_stream() -> None:
    async with served() as one:
        await one.wire.send(*(call(number) for number in range(1, 4098)))
        assert (await one.wire.status())[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert one.models.began == []


async def test_an_id_may_be_used_again_by_no_honest_caller_and_does_no_harm() -> None:
    async with served() as one:
        assert (await one.wire.ask(call(1, "a"))).embed_texts.model == "m:a"
        assert (await one.wire.ask(call(1, "b"))).embed_texts.model == "m:b"


async def test_words_about_unknown_calls_mean_nothing() -> None:
    async with served() as one:
        await one.wire.send(cancel(7), credit(8, 3), cancel(0), credit(0, 1), Call(), credit(1, 0))
        assert (await one.wire.ask(call(1))).id == 1


async def test_a_request_of_a_newer_contract_is_unimplemented() -> None:
    newer = CallFrame.FromString(CallFrame(calls=[Call(id=5)]).SerializeToString() + b"")
    newer.calls[0].MergeFromString(b"\xfa\x3e\x00")  # field 1007, which no oneof of ours has
    async with served() as one:
        await one.wire.stream.write(newer)
        reply = await one.wire.reply()
        assert (reply.id, code_of(reply)) == (5, grpc.StatusCode.UNIMPLEMENTED.value[0])
        assert (await one.wire.ask(call(6))).id == 6


@pytest.mark.parametrize(
    "context",
    [
        exchange_pb2.CallContext(traceparent="0" * 56),
        exchange_pb2.CallContext(request_id="x" * 129),
        exchange_pb2.CallContext.FromString(b"\x10\x09"),
        exchange_pb2.CallContext(actor=exchange_pb2.Actor(user="u")),
        exchange_pb2.CallContext(actor=exchange_pb2.Actor(tenant="t" * 65)),
    ],
)
async def test_a_context_against_the_rules_fails_its_call_alone(context: Any) -> None:
    async with served() as one:
        await one.wire.send(Call(id=1, context=context, embed_texts=embed("a")), call(2))
        bad, good = sorted(await one.wire.replies(2), key=lambda reply: reply.id)
        assert code_of(bad) == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert good.embed_texts.model == "m:a"


@pytest.mark.parametrize("traceparent", ["nonsense", "00-zz-1-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
async def test_a_trace_that_makes_no_sense_is_none(traceparent: str) -> None:
    async with served() as one:
        reply = await one.wire.ask(
            Call(id=1, context=exchange_pb2.CallContext(traceparent=traceparent), embed_texts=embed("a"))
        )
        assert reply.embed_texts.model == "m:a"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_whatever_bytes_come_the_server_lives(data: st.DataObject) -> None:
    raw = data.draw(st.lists(st.binary(max_size=60), min_size=1, max_size=4))
    models = Models()
    async with running_server(
        *models.bindings(Door(CONTRACT, models.frames(), DoorOptions(sampled=0.0))), service="inference"
    ) as server:
        dial: Any = server.channel.stream_stream(CONTRACT.path)
        stream = dial(metadata=server.as_service("recognition"))
        for one in raw:
            try:
                await stream.write(one)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                break
        stream.cancel()
        async with wire(server) as honest:
            assert (await honest.ask(call(1))).embed_texts.model == "m:a"
