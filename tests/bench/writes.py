"""How many units of work a second one process commits, on SQLite and on PostgreSQL, each with durable commits.

A unit reads an account's balance under a lock, changes it in Python and writes it back: one after another; 20 at the
same time on the same row; and 20 at the same time with a request id whose reply is kept for replays (six statements).
After each run the balance must be what was added: none is lost. SQLite runs with synchronous=FULL, PostgreSQL with
fsync and its other defaults, over a Unix socket; both are bound by the disk they lie on.
"""

import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from services.kit.clock import ManualClock
from services.kit.database import Database
from services.kit.secrets import Envelope
from tests.bench.figures import Figure, Outcome
from tests.support.postgres import postgres_server
from tests.unit.kit_state.accounts import CLAIMS, Bank, BankTx, deposit_call, metadata

_RUNS = 5
_UNITS = 400
_AT_ONCE = 20

Run = Callable[[Bank], Awaitable[None]]


class LostError(Exception):
    """A write that was acknowledged is not there."""


def bench() -> Outcome:
    """Measure both databases; without PostgreSQL on this machine the bench fails."""
    with tempfile.TemporaryDirectory(prefix="candela-bench-") as folder:
        sqlite = uvloop.run(_measure("SQLite", f"sqlite+aiosqlite:///{Path(folder) / 'bench.db'}"))
    with postgres_server(durable=True) as server:
        postgres = uvloop.run(_measure("PostgreSQL", server.url()))
    return Outcome((*sqlite, *postgres))


async def _measure(kind: str, url: str) -> list[Figure]:
    runs: dict[str, Run] = {
        "one after another": _one_after_another,
        f"{_AT_ONCE} at once on one row": _at_once,
        f"{_AT_ONCE} at once, replies kept": _with_replies,
    }
    async with _bank(url) as bank:
        return [Figure(f"{kind}, {name}", "/s", await _rates(bank, run), digits=0) for name, run in runs.items()]


@asynccontextmanager
async def _bank(url: str) -> AsyncIterator[Bank]:
    database = Database(url)
    async with database.write_session() as session:
        await (await session.connection()).run_sync(metadata.create_all)
        await session.commit()
    bank = Bank(database, CLAIMS, ManualClock(), Envelope([b"k" * 32]))
    async with bank.units.write() as tx:
        await tx.accounts.open("a")
    yield bank
    await database.close()


async def _rates(bank: Bank, run: Run) -> tuple[float, ...]:
    """Return the units a second of each run; raises LostError when one is missing in the end."""
    rates = []
    for _ in range(_RUNS):
        before = await bank.balance()
        begun = time.perf_counter()
        await run(bank)
        rates.append(_UNITS / (time.perf_counter() - begun))
        if (found := await bank.balance()) != before + _UNITS:
            raise LostError(f"{before + _UNITS - found} of {_UNITS} writes are lost")
    return tuple(rates)


async def _one_after_another(bank: Bank) -> None:
    for _ in range(_UNITS):
        await bank.units.run(None, _add_one)


async def _at_once(bank: Bank) -> None:
    async def some() -> None:
        for _ in range(_UNITS // _AT_ONCE):
            await bank.units.run(None, _add_one)

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))


async def _with_replies(bank: Bank) -> None:
    async def some() -> None:
        for _ in range(_UNITS // _AT_ONCE):
            await bank.answer(deposit_call(str(uuid.uuid4())))

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))


async def _add_one(tx: BankTx) -> None:
    await tx.accounts.set_balance("a", await tx.accounts.locked_balance("a") + 1)
