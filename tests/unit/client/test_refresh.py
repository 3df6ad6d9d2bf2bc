"""Staying logged in: in time, once for everybody, and never with a refresh token that was used up."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

import candela
from candela.tokens import REFRESH_MARGIN
from tests.support.eventually import eventually
from tests.unit.client.conftest import Pauses
from tests.unit.client.fake_candela import ACCESS_SECONDS, PASSWORD, REFRESH_SECONDS, Context, World, fail, unavailable

Connect = Callable[..., Any]


def test_a_token_is_refreshed_shortly_before_its_end(client: Any, world: World) -> None:
    world.now += ACCESS_SECONDS - REFRESH_MARGIN - 1
    client.users.me()
    assert world.count("RefreshSession") == 0
    world.now += 2
    client.users.me()
    assert world.count("RefreshSession") == 1
    assert world.calls("GetUser")[0].token != world.calls("GetUser")[1].token


def test_a_token_that_is_refused_for_its_age_is_refreshed_once(connect: Connect, world: World) -> None:
    client = connect(now=lambda: 0.0)  # a clock that lags behind by decades
    client.login("ada@example.org", PASSWORD)
    world.now += ACCESS_SECONDS + 1
    client.users.update(display_name="Ada")
    first, second = world.calls("UpdateUser")
    assert first.token != second.token
    assert first.request.request_id == second.request.request_id
    assert world.count("RefreshSession") == 1


def test_a_token_that_is_refused_again_is_an_error(client: Any, world: World) -> None:
    def expired(context: Context) -> None:
        fail(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")

    world.before["GetUser"] = [expired, expired]
    with pytest.raises(candela.Unauthenticated):
        client.users.me()
    assert world.count("RefreshSession") == 1


def test_a_gateway_may_refuse_an_old_token_without_a_reason(client: Any, world: World) -> None:
    world.before["GetUser"] = [lambda context: fail(context, grpc.StatusCode.UNAUTHENTICATED)]
    client.users.me()
    assert world.count("RefreshSession") == 1


def test_a_revoked_session_is_not_refreshed(client: Any, world: World) -> None:
    world.before["GetUser"] = [lambda context: fail(context, grpc.StatusCode.UNAUTHENTICATED, "SESSION_REVOKED")]
    with pytest.raises(candela.Unauthenticated) as caught:
        client.users.me()
    assert caught.value.reason == "SESSION_REVOKED"
    assert world.count("RefreshSession") == 0


def test_twenty_callers_share_one_refresh(endpoint: str, world: World) -> None:
    with candela.Client(endpoint, now=lambda: world.now) as client, ThreadPoolExecutor(20) as pool:
        client.login("ada@example.org", PASSWORD)
        world.now += ACCESS_SECONDS + 1
        together = threading.Barrier(20)

        def call() -> str:
            together.wait(10)
            return client.users.me().name

        answers = [future.result(30) for future in [pool.submit(call) for _ in range(20)]]
    assert answers == ["users/1"] * 20
    assert world.count("RefreshSession") == 1


async def test_twenty_tasks_share_one_refresh(endpoint: str, world: World) -> None:
    async with candela.AsyncClient(endpoint, now=lambda: world.now) as client:
        await client.login("ada@example.org", PASSWORD)
        world.now += ACCESS_SECONDS + 1
        answers = await asyncio.gather(*(client.users.me() for _ in range(20)))
    assert [user.name for user in answers] == ["users/1"] * 20
    assert world.count("RefreshSession") == 1


async def test_twenty_tasks_share_one_failure(endpoint: str, world: World) -> None:
    async with candela.AsyncClient(endpoint, now=lambda: world.now) as client:
        await client.login("ada@example.org", PASSWORD)
        world.now += ACCESS_SECONDS + 1
        world.refresh.clear()
        failures = await asyncio.gather(*(client.users.me() for _ in range(20)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {candela.Unauthenticated}
    assert len({id(failure) for failure in failures}) == 20
    assert world.count("RefreshSession") == 1


async def test_a_caller_that_goes_away_does_not_lose_the_new_tokens(endpoint: str, world: World) -> None:
    async with candela.AsyncClient(endpoint, now=lambda: world.now) as client:
        await client.login("ada@example.org", PASSWORD)
        world.now += ACCESS_SECONDS + 1
        hold = threading.Event()
        world.after["RefreshSession"] = [lambda _: hold.wait(10)]
        waiting = asyncio.create_task(client.users.me())
        await eventually(lambda: world.count("RefreshSession") == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        hold.set()
        assert (await client.users.me()).name == "users/1"
    assert world.count("RefreshSession") == 1


def test_a_store_gets_every_new_token_and_the_end(connect: Connect, world: World) -> None:
    kept: list[candela.Tokens | None] = []
    client = connect(store=kept.append)
    client.login("ada@example.org", PASSWORD)
    world.now += ACCESS_SECONDS
    client.users.me()
    client.logout()
    first, second, end = kept
    assert first is not None
    assert second is not None
    assert end is None
    assert first.refresh_token != second.refresh_token
    assert first.access_token not in repr(first)
    assert first.refresh_token not in repr(first)


def test_a_session_goes_on_from_its_store(connect: Connect, world: World) -> None:
    kept: list[Any] = []
    connect(store=kept.append).login("ada@example.org", PASSWORD)
    world.now += ACCESS_SECONDS
    assert connect(tokens=kept[-1]).users.me().name == "users/1"
    assert world.count("RefreshSession") == 1


def test_a_refresh_token_that_was_stolen_ends_the_session(connect: Connect, world: World) -> None:
    kept: list[Any] = []
    client = connect(store=kept.append)
    client.login("ada@example.org", PASSWORD)
    world.spent |= world.refresh
    world.now += ACCESS_SECONDS
    with pytest.raises(candela.Unauthenticated) as caught:
        client.users.me()
    assert caught.value.reason == "REFRESH_TOKEN_REUSED"
    assert kept[-1] is None
    with pytest.raises(candela.Unauthenticated, match="log in first"):
        client.users.me()


def test_an_old_refresh_token_is_not_even_sent(client: Any, world: World) -> None:
    world.now += REFRESH_SECONDS + 1
    with pytest.raises(candela.Unauthenticated, match="log in again"):
        client.users.me()
    assert world.count("RefreshSession") == 0
    assert client.tokens is None


def test_a_token_that_still_holds_is_used_when_the_refresh_fails(client: Any, world: World) -> None:
    world.now += ACCESS_SECONDS - 5
    world.before["RefreshSession"] = [unavailable] * 5
    assert client.users.me().name == "users/1"
    assert world.count("RefreshSession") == 5
    assert client.tokens is not None


def test_a_lost_answer_to_a_refresh_is_asked_for_again_within_its_grace(
    client: Any, world: World, pauses: Pauses
) -> None:
    world.now += ACCESS_SECONDS + 1
    start = pauses.time
    world.before["RefreshSession"] = [unavailable] * 4
    client.users.me()
    assert world.count("RefreshSession") == 5
    assert pauses.time - start < 8


def test_a_failed_refresh_keeps_the_session(client: Any, world: World) -> None:
    world.now += ACCESS_SECONDS + 1
    world.before["RefreshSession"] = [unavailable] * 5
    with pytest.raises(candela.Unavailable):
        client.users.me()
    assert client.users.me().name == "users/1"


async def test_logging_out_wins_over_a_refresh_under_way(endpoint: str, world: World) -> None:
    kept: list[candela.Tokens | None] = []
    async with candela.AsyncClient(endpoint, now=lambda: world.now, store=kept.append) as client:
        await client.login("ada@example.org", PASSWORD)
        world.now += ACCESS_SECONDS - 5
        hold = threading.Event()
        world.after["RefreshSession"] = [lambda _: hold.wait(10)]
        waiting = asyncio.create_task(client.users.me())
        await eventually(lambda: world.count("RefreshSession") == 1)
        client._keeper.clear()  # what logging out ends with; the call itself would wait for the refresh
        hold.set()
        with pytest.raises(candela.Unauthenticated):
            await waiting
        assert client.tokens is None
    assert kept[-1] is None
