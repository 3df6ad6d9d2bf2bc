"""`python -m tests.unit.kit_state.writer_process URL TIMES`: another process that deposits, as a second replica would.

Says `ready`, waits for a line, deposits as often as told to from four tasks at once, and prints the longest wait in
seconds.
"""

import asyncio
import sys
import time

from services.kit.clock import ManualClock
from services.kit.database import Database
from tests.unit.kit_state.accounts import CLAIMS, Bank, BankTx

_TASKS = 4


async def _add_one(tx: BankTx) -> None:
    balance = await tx.accounts.locked_balance("a")
    await asyncio.sleep(0)
    await tx.accounts.set_balance("a", balance + 1)


async def _deposit(url: str, times: int) -> float:
    database = Database(url)
    bank = Bank(database, CLAIMS, ManualClock(), None)
    await bank.balance()
    print("ready", flush=True)
    sys.stdin.readline()
    waits: list[float] = []

    async def deposits() -> None:
        for _ in range(times // _TASKS):
            begun = time.monotonic()
            await bank.units.run(None, _add_one)
            waits.append(time.monotonic() - begun)

    await asyncio.gather(*(deposits() for _ in range(_TASKS)))
    await database.close()
    return max(waits)


if __name__ == "__main__":
    print(asyncio.run(_deposit(sys.argv[1], int(sys.argv[2]))), flush=True)
