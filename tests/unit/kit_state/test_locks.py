"""Locks over a real Redis: one holder at a time, tokens that grow, and fences that stop who was paused."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from sqlalchemy import insert, select

from services.kit.background import Work, taking_turns
from services.kit.clock import ManualClock
from services.kit.database import Database
from services.kit.errors import Unavailable
from services.kit.fences import StaleToken
from services.kit.locks import Held, LockLost, Locks, lock_keys
from services.kit.redis import redis_client
from tests.support.eventually import eventually
from tests.support.redis_server import RedisServer, redis_server
from tests.unit.kit_state.lock_holder import RESULTS, metadata, write

LEASE = 0.6


@pytest.fixture
async def results(database: Database) -> Database:
    """A database whose one row is protected by a lock."""
    async with database.write_session() as session:
        await (await session.connection()).run_sync(metadata.create_all)
        await session.execute(insert(RESULTS).values(id=1, writer="nobody"))
        await session.commit()
    return database


async def writer_of(database: Database) -> str:
    async with database.read_session() as session:
        return str((await session.execute(select(RESULTS.c.writer))).scalar_one())


@contextmanager
def holder(redis_url: str, database_url: str, name: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.kit_state.lock_holder", redis_url, database_url, name, str(LEASE)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def test_a_paused_holder_cannot_write_after_its_successor(
    redis: Redis, redis_url: str, results: Database, database_url: str
) -> None:
    with holder(redis_url, database_url, "report") as paused:
        first = int(await asyncio.to_thread(line, paused))
        await write(results, "report", first, "its predecessor's own write")
        paused.send_signal(signal.SIGSTOP)
        async with Locks(redis).hold("report", lease=LEASE, patience=20) as held:
            assert held.token > first
            await write(results, "report", held.token, "the successor")
            paused.send_signal(signal.SIGCONT)
            assert await asyncio.to_thread(line, paused) == "lost"
            assert await asyncio.to_thread(line, paused) == "refused"
    assert await writer_of(results) == "the successor"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_lock_of_a_killed_holder_ends_with_its_lease(
    redis: Redis, redis_url: str, results: Database, database_url: str
) -> None:
    with holder(redis_url, database_url, "report") as killed:
        first = int(await asyncio.to_thread(line, killed))
        locks = Locks(redis)
        assert await locks.acquire("report", LEASE) is None
        killed.kill()
        began = time.monotonic()
        async with locks.hold("report", lease=LEASE, patience=20) as held:
            assert held.token > first
        assert time.monotonic() - began < 10 * LEASE


async def test_a_fence_lets_equal_and_larger_tokens_pass(results: Database) -> None:
    for token, passes in ((5, True), (5, True), (9, True), (5, False), (8, False), (10, True)):
        if passes:
            await write(results, "one", token, str(token))
        else:
            with pytest.raises(StaleToken):
                await write(results, "one", token, "stale")
    await write(results, "another", 1, "another")  # fences do not know each other
    assert await writer_of(results) == "another"


async def test_holders_follow_one_another_with_growing_tokens(redis: Redis) -> None:
    locks, inside, most, tokens = Locks(redis), 0, 0, []

    async def work() -> None:
        nonlocal inside, most
        async with locks.hold("counter", lease=5) as held:
            inside += 1
            most = max(most, inside)
            tokens.append(held.token)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(8)))
    assert most == 1
    assert tokens == sorted(set(tokens))


async def test_a_lock_is_renewed_as_long_as_it_is_held(redis: Redis) -> None:
    locks = Locks(redis)
    async with locks.hold("long work", lease=0.3) as held:
        began = held.until
        await eventually(lambda: held.until > began + 0.5)
        assert held.is_held
        assert await locks.acquire("long work", 1) is None
    assert await locks.acquire("long work", 1) is not None


async def test_work_is_cancelled_when_the_lock_is_gone(redis: Redis) -> None:
    async def work() -> None:
        async with Locks(redis).hold("work", lease=0.3):
            await redis.delete(lock_keys("work")[0])
            await asyncio.Event().wait()

    with pytest.raises(LockLost):
        await work()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_somebody_elses_cancelling_stays_a_cancelling(redis: Redis) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with Locks(redis).hold("work"):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await Locks(redis).acquire("work", 1) is not None


async def test_a_lock_that_is_taken_is_waited_for_so_long_and_no_longer(redis: Redis) -> None:
    locks = Locks(redis)
    assert await locks.acquire("taken", 30) is not None
    with pytest.raises(Unavailable, match="taken"):
        async with locks.hold("taken", patience=0.05):
            raise AssertionError("not reached")


async def test_a_holder_knows_by_its_own_clock_that_the_lease_is_over(redis: Redis) -> None:
    clock = ManualClock()
    locks = Locks(redis, clock)
    held = await locks.acquire("work", 10)
    assert held is not None
    clock.advance(9.9)
    held.check()
    clock.advance(0.2)
    with pytest.raises(LockLost):
        held.check()


async def test_a_repeated_request_of_the_same_owner_is_not_refused(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command whose connection broke is sent again, and may have been done the first time."""
    monkeypatch.setattr("services.kit.locks.secrets.token_hex", lambda _: "the same")
    first, second = [await Locks(redis).acquire("work", 10) for _ in range(2)]
    assert first is not None
    assert second is not None
    assert first.token == second.token


async def test_tokens_grow_also_when_redis_has_lost_everything() -> None:
    with redis_server() as server:
        tokens = [await _token(server)]
        server.stop()
        server.start()
        tokens.append(await _token(server))
    assert tokens[0] < tokens[1]


async def test_a_redis_that_is_away_is_unavailable() -> None:
    with redis_server() as server:
        server.stop()
        async with redis_client(server.url) as client:
            with pytest.raises(Unavailable):
                await Locks(client).acquire("work", 1)


async def test_of_two_replicas_one_sweeps(redis: Redis) -> None:
    swept: list[str] = []

    def replica(name: str, *, fails: bool = False) -> Work:
        async def sweep() -> None:
            swept.append(name)
            if fails:
                raise ValueError(name)

        return taking_turns(Locks(redis), "sweep", 30, sweep)

    with pytest.raises(ValueError, match="broken"):
        await replica("broken", fails=True)()
    for turn in (replica("one"), replica("two"), replica("one")):
        await turn()
    assert swept == ["broken", "one"]
    await redis.delete(lock_keys("sweep")[0])  # its time is over
    await replica("two")()
    assert swept == ["broken", "one", "two"]


async def test_without_redis_every_replica_sweeps() -> None:
    swept: list[int] = []

    async def sweep() -> None:
        swept.append(1)

    with redis_server() as server:
        server.stop()
        async with redis_client(server.url) as client:
            for _ in range(2):
                await taking_turns(Locks(client), "sweep", 30, sweep)()
    assert len(swept) == 2


async def _token(server: RedisServer) -> int:
    async with redis_client(server.url) as client:
        held = await Locks(client).acquire("work", 30)
    assert held is not None
    return held.token


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["acquire", "extend", "release", "run out"]), st.integers(0, 2)), max_size=25
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(OPERATIONS)
def test_whatever_happens_there_is_one_holder_and_tokens_grow(
    shared_redis: RedisServer, operations: list[tuple[str, int]]
) -> None:
    asyncio.run(_one_holder(shared_redis, operations))


async def _one_holder(server: RedisServer, operations: list[tuple[str, int]]) -> None:
    async with redis_client(server.url) as client:
        await client.flushall()
        locks, held = Locks(client), dict[int, Held]()
        owner: int | None = None
        highest = 0
        for operation, who in operations:
            if operation == "acquire":
                got = await locks.acquire("it", 30)
                assert (got is None) == (owner is not None)
                if got is not None:
                    assert got.token > highest
                    held[who], owner, highest = got, who, got.token
            elif operation == "run out":
                await client.delete(lock_keys("it")[0])
                owner = None
            elif who in held:
                done = await (locks.extend(held[who], 30) if operation == "extend" else locks.release(held[who]))
                assert done == (owner == who and held[who].token == highest)
                if operation == "release" and done:
                    owner = None
