"""A Redis Cluster of three real nodes: what belongs together stays in one slot, and a dead node is told."""

import ast
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

import services
from services.kit.call import Principal
from services.kit.clock import ManualClock
from services.kit.errors import Unauthenticated, Unavailable
from services.kit.key_limits import MinuteLimits
from services.kit.locks import Locks, lock_keys
from services.kit.redis import Keys, RedisOptions, reaching_redis, redis_client, used_memory
from services.kit.revocation import KEY, Revocations, session_member
from services.kit.tokens import Verified
from tests.support.redis_cluster import RedisClusterServer, cluster, redis_cluster, shared_cluster

__all__ = ["cluster", "shared_cluster"]

IMPATIENT = RedisOptions(connect_timeout=0.3, read_timeout=0.5, retries=1)
ADA = Principal(tenant="default", user="ada", session="s1")


async def test_keys_of_all_nodes_come_back(cluster: RedisClusterServer) -> None:
    async with redis_client(cluster.url) as client:
        keys = [Keys(f"tenant{number}")("things", "1") for number in range(30)]
        assert len({cluster.node_of(key_slot(key.encode())).port for key in keys}) == 3
        for key in keys:
            await client.set(key, key, ex=60)
        assert [await client.get(key) for key in keys] == [key.encode() for key in keys]
        assert await used_memory(client) > 3 * 500_000


async def test_what_belongs_together_is_changed_together(cluster: RedisClusterServer) -> None:
    keys = Keys("acme")
    async with redis_client(cluster.url) as client, client.pipeline(transaction=True) as pipeline:
        pipeline.incr(keys("key-calls", "k1", "7"))
        pipeline.expire(keys("key-calls", "k1", "7"), 60)
        pipeline.set(keys("other"), 1)
        assert (await pipeline.execute())[0] == 1


async def test_revocations_spread(cluster: RedisClusterServer) -> None:
    clock = ManualClock()
    async with redis_client(cluster.url) as here, redis_client(cluster.url) as there:
        writer, reader = (Revocations(client, clock=clock) for client in (here, there))
        await reader.refresh()
        reader.check(_verified(clock))
        await writer.revoke(session_member("s1"))
        await reader.refresh()
        with pytest.raises(Unauthenticated):
            reader.check(_verified(clock))


async def test_locks_hold(cluster: RedisClusterServer) -> None:
    async with redis_client(cluster.url) as client:
        locks = Locks(client)
        for name in ("a", "b", "c", "move default ada"):  # of different slots
            async with locks.hold(name, lease=5) as held:
                assert await locks.acquire(name, 5) is None
                assert await locks.extend(held, 5)
            again = await locks.acquire(name, 5)
            assert again is not None
            assert again.token > held.token


async def test_a_dead_node_takes_its_slots_away_and_brings_them_back() -> None:
    clock = ManualClock()
    with redis_cluster() as server:
        dead = server.node_of(key_slot(KEY.encode()))
        async with redis_client(server.url, IMPATIENT) as client:
            revocations = Revocations(client, clock=clock, stale_seconds=5)
            await revocations.refresh()
            dead.stop()
            await _unavailable(client, KEY)
            with pytest.raises((RedisError, OSError)):  # what the follower logs and lives through
                await revocations.refresh()
            with pytest.raises(Unavailable):
                await revocations.revoke(session_member("s1"))
            limits = MinuteLimits(client, clock)
            for tenant in ("a", "b", "c", "d", "e", "f"):  # some of their counters are gone: they are counted here
                await limits.count(Principal(tenant, "ada", api_key="k1", requests_per_minute=5))
            clock.advance(timedelta(seconds=6))  # as designed: who cannot be checked is refused
            with pytest.raises(Unavailable):
                revocations.check(_verified(clock))
            with pytest.raises(Unavailable):
                await Locks(client).acquire(_name_on(server, dead.port), 1)
            dead.start()
            server.wait_until_whole()
            await revocations.refresh()
            with pytest.raises(Unauthenticated):  # this process knew it; publishing again heals the others
                revocations.check(_verified(clock))


async def test_a_cluster_that_is_not_there_is_unavailable() -> None:
    client = redis_client("redis+cluster://user:secret@127.0.0.1:1,[::1]:1", IMPATIENT)
    await _unavailable(client, "candela:{a}:b")
    await client.aclose()


def test_a_url_names_a_node() -> None:
    with pytest.raises(ValueError, match="at least"):
        redis_client("redis+cluster://")


def test_every_key_in_the_code_has_a_hash_tag() -> None:
    found = list(_key_texts())
    assert len(found) >= 3
    assert [text for text in found if "{" not in text or "}" not in text] == []
    owner, fence = lock_keys("a {curious} name")
    assert key_slot(owner.encode()) == key_slot(fence.encode())


def _key_texts() -> Iterator[str]:
    """Yield every text in the services' code that begins a key; what is filled in stands in braces of its own."""
    for path in Path(services.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        nodes = list(ast.walk(tree))
        passed_over = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # documentation
        passed_over |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed_over:
                text = node.value
            else:
                continue
            if text.startswith("candela:") and len(text) > len("candela:"):
                yield text


def _name_on(server: RedisClusterServer, port: int) -> str:
    names = (f"lock {number}" for number in range(1000))
    return next(name for name in names if server.node_of(key_slot(lock_keys(name)[0].encode())).port == port)


async def _unavailable(client: Redis, key: str) -> None:
    with pytest.raises(Unavailable) as caught, reaching_redis():
        await client.get(key)
    assert caught.value.metadata == {"part": "redis"}


def _verified(clock: ManualClock) -> Verified:
    now = clock.now().timestamp()
    return Verified(ADA, issued_at=now - 1, expires_at=now + 60)
