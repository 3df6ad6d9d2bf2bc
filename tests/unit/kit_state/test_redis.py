"""Redis, the real one: keys that stay apart, outages that are told clearly and end by themselves."""

import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.kit.errors import Unavailable
from services.kit.redis import Keys, RedisOptions, reaching_redis, redis_client, used_memory
from tests.support.redis_server import RedisServer, redis_server

IMPATIENT = RedisOptions(connect_timeout=0.2, read_timeout=0.2, retries=1, pool_timeout=0.2)
PART = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
PARTS = st.lists(PART, min_size=1, max_size=3)


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


async def test_values_come_back(redis: Redis) -> None:
    key = Keys("default")("sessions", "1")
    await redis.set(key, b"value", ex=60)
    assert await redis.get(key) == b"value"
    assert await used_memory(redis) > 100_000


async def test_a_stopped_redis_is_unavailable_and_a_restarted_one_answers(own_server: RedisServer) -> None:
    async with redis_client(own_server.url, IMPATIENT) as client:
        await client.set("a", 1)
        own_server.stop()
        await _unavailable(lambda: client.get("a"))
        own_server.start()
        with reaching_redis():
            assert await client.get("a") is None


async def test_a_hanging_redis_is_unavailable_in_bounded_time(own_server: RedisServer) -> None:
    async with redis_client(own_server.url, IMPATIENT) as client:
        await client.set("a", 1)
        own_server.pause()
        try:
            started = time.monotonic()
            await _unavailable(lambda: client.get("a"))
            assert time.monotonic() - started < 5
        finally:
            own_server.resume()
        with reaching_redis():
            assert await client.get("a") == b"1"


async def test_all_connections_in_use_is_unavailable(redis_url: str) -> None:
    options = RedisOptions(connections=1, pool_timeout=0.1, retries=0)
    async with redis_client(redis_url, options) as client, client.client() as busy:
        await busy.ping()
        await _unavailable(client.ping)


async def test_a_wrong_command_is_not_an_outage(redis: Redis) -> None:
    await redis.set("a", "text")
    with pytest.raises(ResponseError), reaching_redis():
        await redis.incr("a")


async def _unavailable(command: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(Unavailable) as caught, reaching_redis():
        await command()
    assert caught.value.metadata == {"part": "redis"}
    assert caught.value.retry_after is not None


def test_keys_carry_the_tenant_as_their_hash_tag() -> None:
    assert Keys("acme")("sessions", "ada@example.com") == "candela:{acme}:sessions:ada@example.com"


@given(st.tuples(PARTS, PARTS), st.tuples(PART, PART))
def test_different_parts_make_different_keys(parts: tuple[list[str], list[str]], tenants: tuple[str, str]) -> None:
    keys = [Keys(tenant)(*part) for tenant, part in zip(tenants, parts, strict=True)]
    assert (keys[0] == keys[1]) == ((tenants[0], parts[0]) == (tenants[1], parts[1]))
    assert all(key.count("{") == key.count("}") == 1 for key in keys)


@pytest.mark.parametrize("parts", [[], [""], ["a", ""]])
def test_keys_without_content_are_refused(parts: list[str]) -> None:
    with pytest.raises(ValueError, match="part"):
        Keys("default")(*parts)
    with pytest.raises(ValueError, match="part"):
        Keys("")
