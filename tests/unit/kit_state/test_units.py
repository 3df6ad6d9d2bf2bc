"""Units of work on every database: nothing is lost, nothing half done."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from services.kit.database import Database
from services.kit.database_errors import unique_violation
from services.kit.errors import Internal
from tests.support.eventually import eventually
from tests.unit.kit_state.accounts import ACCOUNTS, Bank, BankTx


async def test_20_concurrent_read_modify_writes_lose_nothing(bank: Bank) -> None:
    async def add_one() -> None:
        async with bank.units.write() as tx:
            balance = await tx.accounts.locked_balance("a")
            for _ in range(10):
                await asyncio.sleep(0)  # gives the others every chance to read the same value
            await tx.accounts.set_balance("a", balance + 1)

    await asyncio.gather(*(add_one() for _ in range(20)))
    assert await bank.balance() == 20


async def test_two_processes_worth_of_writers_lose_nothing(bank: Bank, database_url: str) -> None:
    other_database = Database(database_url)
    other = Bank(other_database, bank.table, bank.clock, bank.envelope)
    calls = (one.units.run(None, _add_one) for one in (bank, other) for _ in range(10))
    await asyncio.gather(*calls)
    await other_database.close()
    assert await bank.balance() == 20


async def _add_one(tx: BankTx) -> None:
    await tx.accounts.set_balance("a", await tx.accounts.locked_balance("a") + 1)


async def test_a_block_that_raises_leaves_nothing(bank: Bank) -> None:
    async def fail(tx: BankTx) -> None:
        await tx.accounts.set_balance("a", 7)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        await bank.units.run(None, fail)
    assert await bank.balance() == 0


async def test_a_reader_cannot_write(bank: Bank) -> None:
    with pytest.raises(DBAPIError, match=r"(?i)read[- ]?only"):
        async with bank.units.read() as tx:
            await tx.accounts.set_balance("a", 7)
    assert await bank.balance() == 0


async def test_a_reader_sees_one_snapshot(bank: Bank) -> None:
    async def write() -> None:
        async with bank.units.write() as tx:
            await tx.accounts.set_balance("a", 5)

    async with bank.units.read() as tx:
        before = await tx.accounts.balance("a")
        await asyncio.create_task(write())
        assert (before, await tx.accounts.balance("a")) == (0, 0)
    assert await bank.balance() == 5


@pytest.mark.parametrize("inner", ["write", "read"])
async def test_a_block_inside_a_block_is_refused(bank: Bank, inner: str) -> None:
    with pytest.raises(Internal, match="inside another"):
        async with bank.units.write(), getattr(bank.units, inner)():
            raise AssertionError("not reached")


async def test_cancelled_writers_leave_the_database_usable(bank: Bank) -> None:
    """Writers are cancelled at every stage they may be in; what commits is whole, and the next writer gets its turn."""
    done = 0
    for turns in range(0, 40, 2):
        task = asyncio.create_task(bank.units.run(None, _add_one))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        assert result is None or isinstance(result, asyncio.CancelledError)
        done += result is None
    balance = await bank.balance()
    assert done <= balance <= 20
    await bank.units.run(None, _add_one)
    assert await bank.balance() == balance + 1
    assert bank.database.connections_active == 0
    await bank.database.close()
    # Connections that were cancelled end in threads, which say their last word to this test's event loop.
    await eventually(lambda: not any("_connection_worker" in thread.name for thread in threading.enumerate()))


async def test_connections_in_use_are_counted(bank: Bank) -> None:
    assert bank.database.connections_active == 0
    async with bank.units.read():
        assert bank.database.connections_active == 1
    assert bank.database.connections_active == 0


async def test_a_moment_comes_back_as_the_same_moment_in_utc(bank: Bank) -> None:
    moment = datetime(2026, 3, 1, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=8)))
    async with bank.units.write() as tx:
        await tx.session.execute(insert(ACCOUNTS).values(id="b", balance=0, seen_at=moment))
    async with bank.units.read() as tx:
        stored = (await tx.session.execute(select(ACCOUNTS.c.seen_at).where(ACCOUNTS.c.id == "b"))).scalar_one()
    assert stored == moment
    assert stored.tzinfo is UTC


async def test_a_moment_without_a_zone_is_refused(bank: Bank) -> None:
    naive = datetime(2026, 3, 1)  # noqa: DTZ001 - the mistake under test
    with pytest.raises(StatementError, match="needs a timezone"):
        async with bank.units.write() as tx:
            await tx.session.execute(insert(ACCOUNTS).values(id="b", balance=0, seen_at=naive))


async def test_a_collision_names_its_columns(bank: Bank) -> None:
    with pytest.raises(IntegrityError) as caught:
        async with bank.units.write() as tx:
            await tx.accounts.open("a")
    assert unique_violation(caught.value) == ("id",)
