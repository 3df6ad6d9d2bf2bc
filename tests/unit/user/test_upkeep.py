"""Background work: Redis is healed from the database, active users are counted."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from services.kit.call import Principal
from services.kit.clock import SystemClock
from services.kit.errors import CandelaError
from services.kit.redis import redis_client
from services.kit.revocation import KEY, Revocations
from services.kit.tokens import Verified
from services.user.domain.sessions import Ended, Revocation
from services.user.providers.revoking import RedisRevoker
from services.user.usecases.upkeep import Upkeep
from tests.support.redis_server import redis_server
from tests.unit.user.world import Shown, World


@pytest_asyncio.fixture
async def revoking(small_world: World, redis: Redis) -> AsyncIterator[World]:
    """A world that publishes to a real Redis."""
    _publish_to(small_world, redis)
    yield small_world


def _publish_to(world: World, redis: Redis) -> None:
    revoker = RedisRevoker(redis, Revocations(redis, clock=world.clock))
    outside = replace(world.outside, revoker=revoker)
    world.sign_in._outside = outside
    world.accounts._outside = outside
    world.upkeep = Upkeep(outside, world.upkeep._sessions, world.upkeep._throttles, world.gauge)


async def _members(redis: Redis) -> dict[str, float]:
    entries: Any = await redis.zrange(KEY, 0, -1, withscores=True)
    return {member.decode(): score for member, score in entries}


async def test_an_ended_session_is_in_redis_at_once(revoking: World, redis: Redis) -> None:
    user, grant = await revoking.signed_in()
    await revoking.sign_in.end(revoking.call(user, grant.session.id), "current")
    assert await _members(redis) == {f"s:{grant.session.id}": revoking.clock.now().timestamp()}


async def test_an_erased_user_is_in_redis_at_once(revoking: World, redis: Redis) -> None:
    user = await revoking.register()
    await revoking.accounts.delete(revoking.call(user), "me")
    assert await _members(redis) == {f"u:{user.id}": revoking.clock.now().timestamp()}


async def test_a_redis_that_lost_its_data_is_healed(revoking: World, redis: Redis) -> None:
    user, grant = await revoking.signed_in()
    await revoking.sign_in.end(revoking.call(user, grant.session.id), "current")
    revoking.clock.advance(5)
    await revoking.accounts.delete(revoking.call(user), "me")
    before = await _members(redis)
    await redis.flushall()
    assert await revoking.upkeep.republish()
    assert await _members(redis) == before  # each at its own time: a later sign-in of the same user must hold
    assert len(before) == 2


async def test_what_was_never_published_is_healed(small_world: World, redis: Redis) -> None:
    user, grant = await small_world.signed_in()
    small_world.revoker.down = True  # as after a crash between commit and publication
    await small_world.sign_in.end(small_world.call(user), grant.session.id)
    _publish_to(small_world, redis)
    assert await small_world.upkeep.republish()
    assert set(await _members(redis)) == {f"s:{grant.session.id}"}


async def test_old_revocations_are_let_go(revoking: World, redis: Redis) -> None:
    user, grant = await revoking.signed_in()
    await revoking.sign_in.end(revoking.call(user), grant.session.id)
    revoking.clock.advance(timedelta(minutes=19))
    await redis.flushall()
    await revoking.upkeep.republish()
    assert len(await _members(redis)) == 1
    revoking.clock.advance(timedelta(minutes=2))
    await redis.flushall()
    await revoking.upkeep.republish()
    assert await _members(redis) == {}
    revoking.clock.advance(timedelta(minutes=20))
    assert (await revoking.upkeep.sweep()).revocations == 1


async def test_a_redis_that_is_down_or_hangs_breaks_nothing(small_world: World) -> None:
    with redis_server() as server:
        client = redis_client(server.url)
        _publish_to(small_world, client)
        user, grant = await small_world.signed_in()
        other = await small_world.log_in(user.email)
        server.pause()
        await small_world.sign_in.end(small_world.call(user), grant.session.id)
        assert not await small_world.upkeep.republish()
        server.resume()
        server.stop()
        await small_world.sign_in.end(small_world.call(user), other.session.id)
        assert not await small_world.upkeep.republish()
        server.start()
        assert await small_world.upkeep.republish()
        assert set(await _members(client)) == {f"s:{grant.session.id}", f"s:{other.session.id}"}
        await client.aclose()


async def test_this_process_refuses_at_once_also_without_redis() -> None:
    with redis_server() as server:
        client = redis_client(server.url)
        revocations = Revocations(client)
        await revocations.refresh()
        now = SystemClock().now()
        token = Verified(Principal("default", user="u", session="s"), now.timestamp() - 1, now.timestamp() + 900)
        revocations.check(token)
        server.stop()
        assert not await RedisRevoker(client, revocations).publish([Revocation("default", Ended.SESSION, "s", now)])
        with pytest.raises(CandelaError) as refused:
            revocations.check(token)
        assert refused.value.reason == "SESSION_REVOKED"
        await client.aclose()
        server.start()


async def test_active_users_are_counted_once_each(world: World) -> None:
    ada, first = await world.signed_in()
    await world.log_in(ada.email)
    eve, hers = await world.signed_in()
    assert await world.upkeep.count_active() == 2
    await world.sign_in.end(world.call(eve), hers.session.id)
    assert await world.upkeep.count_active() == 1
    world.clock.advance(timedelta(hours=23))
    await world.sign_in.refresh(first.refresh_token)
    world.clock.advance(timedelta(hours=23))
    assert await world.upkeep.count_active() == 1
    world.clock.advance(timedelta(hours=2))
    assert await world.upkeep.count_active() == 0
    assert world.gauge == Shown(0)
