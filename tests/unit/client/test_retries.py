"""When calls are sent again: only what may arrive twice, only when nothing answered, within one timeout."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

import candela
from candela.errors import ERRORS
from tests.unit.client.conftest import Pauses
from tests.unit.client.fake_candela import PASSWORD, Context, World, fail, unavailable

Connect = Callable[..., Any]
HALF = candela.RetryPolicy(chance=lambda: 0.5)


def test_a_lost_answer_is_asked_for_again_with_the_same_key(client: Any, world: World, pauses: Pauses) -> None:
    world.after["RecognizeDocument"] = [unavailable]
    assert client.documents.recognize(b"once").document.text == "once"
    keys = [call.request.request_id for call in world.calls("RecognizeDocument")]
    assert len(keys) == 2
    assert keys[0] == keys[1] != ""
    assert len(world.recognitions) == 1
    assert len(pauses.taken) == 1


def test_a_log_in_is_never_sent_twice(connect: Connect, world: World) -> None:
    world.before["CreateSession"] = [unavailable]
    with pytest.raises(candela.Unavailable):
        connect().login("ada@example.org", PASSWORD)
    assert world.count("CreateSession") == 1


@pytest.mark.parametrize(
    "code",
    [code for code in grpc.StatusCode if code not in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)],
    ids=lambda code: code.name,
)
def test_no_other_error_is_worth_another_try(client: Any, world: World, code: grpc.StatusCode) -> None:
    def refuse(context: Context) -> None:
        fail(context, code, "SOME_REASON")

    world.before["GetUser"] = [refuse]
    with pytest.raises(ERRORS[code.value[0]]) as caught:
        client.users.me()
    assert caught.value.reason == "SOME_REASON"
    assert world.count("GetUser") == 1


def test_attempts_are_counted_and_pauses_grow(connect: Connect, world: World, pauses: Pauses) -> None:
    client = connect(retry=HALF)
    world.before["RegisterUser"] = [unavailable] * 9
    with pytest.raises(candela.Unavailable):
        client.register(email="a@example.org", password=PASSWORD)
    assert world.count("RegisterUser") == 5
    assert pauses.taken == pytest.approx([0.05, 0.1, 0.2, 0.4])


def test_a_named_time_is_waited_for(connect: Connect, world: World, pauses: Pauses) -> None:
    def later(context: Context) -> None:
        retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=3))
        fail(context, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", details=(retry,))

    world.before["RegisterUser"] = [later]
    connect(retry=HALF).register(email="a@example.org", password=PASSWORD)
    assert pauses.taken == [3.0]


def test_one_timeout_bounds_all_attempts(connect: Connect, world: World, pauses: Pauses) -> None:
    client = connect(retry=candela.RetryPolicy(attempts=100, chance=lambda: 1.0))
    world.before["RegisterUser"] = [unavailable] * 100
    start = pauses.time
    with pytest.raises(candela.Unavailable):
        client.register(email="a@example.org", password=PASSWORD, timeout=4)
    assert pauses.time - start <= 4
    assert pauses.taken == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])


def test_a_server_that_does_not_answer_runs_into_the_timeout(connect: Connect, world: World) -> None:
    with world.lock, pytest.raises(candela.DeadlineExceeded):
        connect().register(email="a@example.org", password=PASSWORD, timeout=0.2)


def test_nobody_there_is_unavailable_and_names_no_transport(connect: Connect, pauses: Pauses) -> None:
    client = connect(endpoint="127.0.0.1:1", retry=candela.RetryPolicy(attempts=3))
    with pytest.raises(candela.Unavailable) as caught:
        client.register(email="a@example.org", password=PASSWORD)
    assert caught.value.message == "Candela cannot be reached"
    assert caught.value.reason == ""
    assert caught.value.request_id
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert len(pauses.taken) == 2


@given(
    st.integers(1, 10),
    st.floats(0, 1, exclude_max=True),
    st.none() | st.floats(0, 100),
    st.none() | st.floats(0, 10),
)
def test_a_pause_keeps_its_bounds(
    attempt: int, chance: float, remaining: float | None, retry_after: float | None
) -> None:
    policy = candela.RetryPolicy(chance=lambda: chance)
    pause = policy.pause(candela.Unavailable("no", retry_after=retry_after), attempt, remaining)
    if pause is None:
        assert attempt >= policy.attempts or remaining is not None
    else:
        assert attempt < policy.attempts
        assert (retry_after or 0) <= pause <= max(retry_after or 0, policy.longest_pause)
        assert remaining is None or pause < remaining
