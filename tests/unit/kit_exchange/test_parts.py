"""The small parts of both sides: what a contract must be, how frames fill, how long streams go on."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candela.inference.v1 import embedding_service_pb2, exchange_service_pb2
from candela.user.v1 import user_service_pb2
from kserve import grpc_service_pb2
from services.kit.exchange.contract import Contract
from services.kit.exchange.door import Door, Frames
from services.kit.exchange.life import Pulse, seconds_of_stream
from services.kit.exchange.outbox import Outbox
from services.kit.pipeline.item_telemetry import parse_traceparent
from services.kit.pipeline.methods import Methods
from services.kit.validation import has_rules
from tests.unit.kit_exchange.models import CONTRACT, EMBED, INFER, Models

EXCHANGE = "/candela.inference.v1.ExchangeService/Exchange"


# --- contracts


@pytest.mark.parametrize(
    "members",
    [{"embed_texts": INFER}, {"infer": EMBED}, {"cancel": EMBED}, {"credit": EMBED}],
)
def test_a_member_carries_what_its_method_takes(members: dict[str, str]) -> None:
    with pytest.raises(TypeError):
        Contract.of(EXCHANGE, members)


@pytest.mark.parametrize("members", [{"no_such": EMBED}, {"infer": "/no.such.Service/Method"}])
def test_unknown_names_are_mistakes(members: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        Contract.of(EXCHANGE, members)


def test_only_a_stream_for_services_speaks_for_users() -> None:
    service = user_service_pb2.DESCRIPTOR.services_by_name["UserService"].full_name
    with pytest.raises(TypeError, match="services only"):
        Contract.of(f"/{service}/GetUser", {})


def test_what_may_be_repeated_is_said_by_the_contract_or_by_us() -> None:
    assert {name: info.read_only for name, info in CONTRACT.infos(Methods()).items()} == {
        "embed_texts": True,
        "infer": False,
    }
    ours = Contract.of(EXCHANGE, {"infer": INFER}, idempotent=("infer",))
    assert ours.infos(Methods())["infer"].read_only


def _not_asynchronous(request: Any, context: Any) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    "handlers",
    [
        {},
        {"embed_texts": Frames(Models().embed_frames)},
        Models().frames() | {"detect_text": Models().EmbedTexts},
        Models().frames() | {"infer": _not_asynchronous},
    ],
)
def test_a_door_has_a_handler_for_every_member(handlers: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Door(CONTRACT, handlers)


def test_types_without_rules_are_known() -> None:
    assert has_rules(embedding_service_pb2.EmbedTextsRequest.DESCRIPTOR)
    assert not has_rules(embedding_service_pb2.EmbedTextsResponse.DESCRIPTOR)
    assert not has_rules(grpc_service_pb2.ModelInferRequest.DESCRIPTOR)
    assert has_rules(exchange_service_pb2.CallFrame.DESCRIPTOR)


# --- frames


@given(st.lists(st.integers(0, 300), max_size=40), st.integers(1, 5))
def test_frames_are_bounded_and_nothing_is_lost(sizes: list[int], count: int) -> None:
    outbox = Outbox(exchange_service_pb2.ReplyFrame, "replies", size=200, count=count)
    for number, size in enumerate(sizes, 1):
        outbox.add(number, size).embed_texts.model = "x" * size
    assert outbox.unsent == sum(sizes)
    seen: list[int] = []
    while (taken := outbox.next()) is not None:
        frame, size = taken
        numbers = [reply.id for reply in frame.replies]
        assert 1 <= len(numbers) <= count
        assert size == sum(sizes[number - 1] for number in numbers)
        assert size <= 200 or len(numbers) == 1
        outbox.sent(size)
        seen += numbers
    assert seen == list(range(1, len(sizes) + 1))
    assert outbox.unsent == 0


async def test_what_one_turn_adds_leaves_together() -> None:
    outbox = Outbox(exchange_service_pb2.ReplyFrame, "replies", size=1000, count=100)
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    for number in range(1, 6):
        outbox.add(number, 10)
    taken = await taking
    assert taken is not None
    assert len(taken[0].replies) == 5
    outbox.add(6, 10)
    outbox.close()
    last = await outbox.take()
    assert last is not None
    assert await outbox.take() is None


# --- life


@pytest.mark.parametrize(
    ("left", "longest", "seconds"),
    [(300.0, 3000.0, 270.0), (300.0, 100.0, 100.0), (40.0, 3000.0, 20.0), (0.0, 3000.0, 0.0), (-5.0, 3000.0, 0.0)],
)
def test_a_stream_ends_before_its_token(left: float, longest: float, seconds: float) -> None:
    assert seconds_of_stream(1000.0, 1000.0 + left, longest) == seconds


def test_a_caller_without_a_token_that_ends_has_the_longest_stream() -> None:
    assert seconds_of_stream(1000.0, None, 3000.0) == 3000.0


def test_three_missed_heartbeats_are_death() -> None:
    pulse = Pulse(2.0, 100.0)
    assert not pulse.is_dead(106.0)
    assert pulse.is_dead(106.1)
    pulse.told(10.0)
    assert not pulse.is_dead(130.0)
    pulse.told(0.0)
    pulse.told(-1.0)
    assert not pulse.is_dead(130.0)
    pulse.told(1e300)
    assert pulse.is_dead(100.0 + 4 * 86400.0)


def test_a_heartbeat_is_due_when_nothing_was_sent() -> None:
    pulse = Pulse(2.0, 100.0)
    assert not pulse.is_due(100.9)
    assert pulse.is_due(101.0)  # the next look may be a second later


# --- traces


def test_a_traceparent_is_read() -> None:
    context = parse_traceparent(f"00-{1:032x}-{2:016x}-01")
    assert context is not None
    assert (context.trace_id, context.span_id, context.trace_flags.sampled) == (1, 2, True)
    assert parse_traceparent(f"00-{1:032x}-{2:016x}-00").trace_flags.sampled is False  # type: ignore[union-attr]  # fails


@given(st.text(max_size=60))
def test_any_text_is_a_trace_or_none(text: str) -> None:
    context = parse_traceparent(text)
    assert context is None or context.is_valid
