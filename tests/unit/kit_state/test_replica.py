"""A replica that lags: what it may answer, to whom, and what happens when it is away."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError

from services.kit.call import Call, Principal, handling
from services.kit.clock import ManualClock
from services.kit.database import Database, DatabaseOptions
from services.kit.errors import Unavailable
from services.kit.redis import redis_client
from services.kit.replica import PIN, Replica
from services.kit.uow_sql import SqlUnits
from tests.support.databases import new_database
from tests.support.redis_server import redis_server
from tests.unit.kit_state.accounts import ACCOUNTS, Bank, BankTx, deposit_call, metadata

ADA, BOB = (Call("/bank/Show", Principal("default", user)) for user in ("ada", "bob"))
PRIMARY, COPY = 0, 1000  # the copy's balance is another one, which tells it apart


@dataclass
class Pair:
    """A primary, its copy, and the units over both."""

    primary: Bank
    copy: Database
    clock: ManualClock
    redis: Redis

    def units(self) -> SqlUnits[BankTx]:
        """Return the units of one process."""
        return SqlUnits(self.primary.database, BankTx, replica=Replica(self.copy, "bank", self.redis, self.clock))


@pytest.fixture
async def pair(bank: Bank, redis: Redis, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    kind = bank.database.url.kind.value
    copy = Database(await new_database(kind, request, tmp_path))
    async with copy.write_session() as session:
        await (await session.connection()).run_sync(metadata.create_all)
        await session.execute(insert(ACCOUNTS).values(id="a", balance=COPY))
        await session.commit()
    yield Pair(bank, copy, ManualClock(), redis)
    await copy.close()


async def read(units: SqlUnits[BankTx], call: Call | None, *, may_lag: bool = True) -> int:
    async with units.read(call, may_lag=may_lag) as tx:
        return await tx.accounts.balance("a")


async def write(units: SqlUnits[BankTx], call: Call) -> None:
    with handling(call):  # as the pipeline does; the block itself is given no call where there is no request id
        async with units.write() as tx:
            await tx.accounts.locked_balance("a")


async def test_only_what_may_lag_is_read_from_the_replica(pair: Pair) -> None:
    units = pair.units()
    assert await read(units, ADA) == COPY
    assert await read(units, None) == COPY
    assert await read(units, ADA, may_lag=False) == PRIMARY
    async with units.read() as tx:
        assert await tx.accounts.balance("a") == PRIMARY


async def test_who_wrote_reads_the_primary_for_a_while_through_any_process(pair: Pair) -> None:
    here, there = pair.units(), pair.units()
    await write(here, ADA)
    assert [await read(units, ADA) for units in (here, there)] == [PRIMARY, PRIMARY]
    assert [await read(units, BOB) for units in (here, there)] == [COPY, COPY]
    assert 0 < await pair.redis.pttl("candela:{default}:wrote:bank:ada") <= PIN.total_seconds() * 1000
    await pair.redis.flushall()
    pair.clock.advance(PIN)
    assert [await read(units, ADA) for units in (here, there)] == [COPY, COPY]


async def test_request_ids_are_looked_up_in_the_primary(pair: Pair) -> None:
    bank = pair.primary
    bank.units = SqlUnits(bank.database, BankTx, bank.units._claims, Replica(pair.copy, "bank", pair.redis, pair.clock))
    first = await bank.answer(deposit_call("r1"))
    again = await bank.answer(deposit_call("r1"))
    assert (first.replayed, again.replayed) == (False, True)
    assert first.message == again.message


async def test_nothing_is_written_through_the_replica(pair: Pair) -> None:
    with pytest.raises(DBAPIError, match=r"(?i)read[- ]?only"):
        async with pair.units().read(ADA, may_lag=True) as tx:
            await tx.accounts.set_balance("a", 7)


async def test_without_its_replica_the_primary_answers(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    missing = {
        "sqlite": "sqlite+aiosqlite:////no-such-folder/a.db",
        "postgresql": "postgresql+asyncpg:///a?host=/no-such-folder",
        "mariadb": "mysql+aiomysql://root@localhost/a?unix_socket=/no-such-folder",
    }
    away = Database(missing[pair.copy.url.kind.value])
    units = SqlUnits(pair.primary.database, BankTx, replica=Replica(away, "bank", pair.redis, pair.clock))
    with caplog.at_level(logging.WARNING):
        assert [await read(units, ADA) for _ in range(3)] == [PRIMARY] * 3
    assert [record.getMessage() for record in caplog.records if "replica" in record.getMessage()] == [
        "the database's replica does not answer; its reads go to the primary"
    ]
    await away.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_without_redis_nobody_reads_from_the_replica(pair: Pair) -> None:
    with redis_server() as server:
        server.stop()
        async with redis_client(server.url) as client:
            pair.redis = client
            units = pair.units()
            await write(units, ADA)
            assert [await read(units, call) for call in (ADA, BOB)] == [PRIMARY, PRIMARY]


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
async def test_twenty_connections_and_the_next_one_waits_so_long(bank: Bank) -> None:
    """The pool that services have is the default one; only its patience is shortened here."""
    database = Database(bank.database.url.text, DatabaseOptions(pool_timeout=0.2))
    units = SqlUnits(database, BankTx)
    sessions = [database.read_session() for _ in range(20)]
    for session in sessions:
        await session.connection()
    assert database.connections_active == 20
    with pytest.raises(Unavailable, match="in use") as caught:
        await read(units, None)
    assert caught.value.retry_after is not None
    await sessions.pop().close()
    assert await read(units, None) == PRIMARY
    for session in sessions:
        await session.close()
    assert database.connections_active == 0
    await database.close()
