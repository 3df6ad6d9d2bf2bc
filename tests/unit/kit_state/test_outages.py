"""What databases do to transactions: each trouble has one clear end, and is over when it is over."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from services.kit.database import Database, DatabaseOptions
from services.kit.database_errors import SerializationConflict
from services.kit.database_url import DatabaseKind, DatabaseUrl
from services.kit.errors import Aborted, Unavailable
from services.kit.uow_sql import SqlUnits
from tests.support.eventually import eventually
from tests.unit.kit_state.accounts import Bank, BankTx

IMPATIENT = DatabaseOptions(pool_size=1, pool_timeout=0.1, busy_timeout=0.1, statement_timeout=0.2)


@asynccontextmanager
async def impatient(bank: Bank) -> AsyncIterator[SqlUnits[BankTx]]:
    """The same database through a pool of one connection that waits for nothing."""
    database = Database(bank.database.url.text, IMPATIENT)
    try:
        yield SqlUnits(database, BankTx)
    finally:
        await database.close()


async def add_one(tx: BankTx) -> None:
    await tx.accounts.set_balance("a", await tx.accounts.locked_balance("a") + 1)


async def test_all_connections_in_use_is_unavailable(bank: Bank) -> None:
    async with impatient(bank) as units, units.write():
        with pytest.raises(Unavailable, match="in use"):
            await asyncio.create_task(units.run(None, add_one))
    await bank.units.run(None, add_one)
    assert await bank.balance() == 1


async def test_a_lock_that_others_keep_is_unavailable(bank: Bank) -> None:
    """Another process holds the row (on SQLite: the write lock) longer than a statement may wait."""
    async with impatient(bank) as units, bank.units.write() as tx:
        await add_one(tx)
        with pytest.raises(Unavailable):
            await asyncio.create_task(units.run(None, add_one))
    assert await bank.balance() == 1


async def test_a_database_that_is_not_there_is_unavailable(database_url: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "no-such-folder")
    urls = {
        DatabaseKind.SQLITE: f"sqlite+aiosqlite:///{missing}/a.db",
        DatabaseKind.POSTGRESQL: f"postgresql+asyncpg:///a?host={missing}",
        DatabaseKind.MARIADB: f"mysql+aiomysql://root@localhost/a?unix_socket={missing}",
    }
    database = Database(urls[DatabaseUrl(database_url).kind])
    units = SqlUnits(database, BankTx)
    for attempt in (units.run(None, add_one), _read(units)):
        with pytest.raises(Unavailable) as caught:
            await attempt
        assert caught.value.metadata == {"part": "database"}
    await database.close()
    # The driver leaves the thread of a failed connection to say its last word to this test's event loop.
    await eventually(lambda: not any("_connection_worker" in thread.name for thread in threading.enumerate()))


async def _read(units: SqlUnits[BankTx]) -> None:
    async with units.read():
        raise AssertionError("not reached")


_OTHERS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND db = DATABASE()",
}
_KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL CONNECTION {}"}


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
async def test_connections_that_broke_are_replaced(bank: Bank) -> None:
    killer = create_async_engine(bank.database.url.text)
    kind = killer.dialect.name

    async def broken(tx: BankTx) -> None:
        async with killer.connect() as connection:
            for process in (await connection.execute(text(_OTHERS[kind]))).scalars().all():
                await connection.execute(text(_KILL[kind].format(process)))
        await add_one(tx)

    with pytest.raises(Unavailable):
        await bank.units.run(None, broken)
    await killer.dispose()
    await bank.units.run(None, add_one)
    assert await bank.balance() == 1
    assert bank.database.connections_active == 0


async def test_a_deadlock_is_retried_until_both_are_done(bank: Bank) -> None:
    async with bank.units.write() as tx:
        await tx.accounts.open("b")
    both_hold_one = asyncio.Barrier(2)
    sqlite = bank.database.url.is_sqlite

    async def move(tx: BankTx, first: str, second: str, tries: list[int]) -> None:
        balance = await tx.accounts.locked_balance(first)
        tries.append(1)
        if len(tries) == 1 and not sqlite:  # SQLite lets no two writers in, so they cannot meet
            await both_hold_one.wait()
        await tx.accounts.set_balance(first, balance - 1)
        await tx.accounts.set_balance(second, await tx.accounts.locked_balance(second) + 2)

    tries: tuple[list[int], list[int]] = ([], [])
    await asyncio.gather(
        bank.units.run(None, lambda tx: move(tx, "a", "b", tries[0])),
        bank.units.run(None, lambda tx: move(tx, "b", "a", tries[1])),
    )
    assert len(tries[0]) + len(tries[1]) == (2 if sqlite else 3)
    async with bank.units.read() as tx:
        assert (await tx.accounts.balance("a"), await tx.accounts.balance("b")) == (1, 1)


async def test_a_conflict_that_does_not_end_is_aborted(bank: Bank) -> None:
    tries = 0

    async def conflict(_tx: BankTx) -> None:
        nonlocal tries
        tries += 1
        raise SerializationConflict("always")

    with pytest.raises(Aborted):
        await bank.units.run(None, conflict, attempts=3)
    assert tries == 3


async def test_the_trap_that_the_kit_avoids(tmp_path: Path) -> None:
    """The driver's defaults lose one of two writes in silence; should they ever stop to, the kit may become simpler."""
    path = tmp_path / "trap.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE accounts (balance INTEGER); INSERT INTO accounts VALUES (0);")
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    async with engine.connect() as one, engine.connect() as two:
        balances = [(await each.execute(text("SELECT balance FROM accounts"))).scalar_one() for each in (one, two)]
        for each, balance in zip((one, two), balances, strict=True):
            await each.execute(text("UPDATE accounts SET balance = :new"), {"new": balance + 1})
            await each.commit()
        assert (await one.execute(text("SELECT balance FROM accounts"))).scalar_one() == 1
    await engine.dispose()
