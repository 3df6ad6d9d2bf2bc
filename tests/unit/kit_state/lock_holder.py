"""A process that holds a lock, and writes under its token when it has lost it: see test_locks.py.

`python -m tests.unit.kit_state.lock_holder REDIS_URL DATABASE_URL NAME LEASE` prints its token once it has the lock,
`lost` when it notices that it has it no more, and whether its write was `written` or `refused`.
"""

import asyncio
import sys

from sqlalchemy import Integer, String, Table, update
from sqlalchemy.schema import Column

from services.kit.database import Database
from services.kit.fences import Fences, StaleToken, fences_table
from services.kit.locks import LockLost, Locks
from services.kit.redis import redis_client
from services.kit.types import new_metadata

metadata = new_metadata()
FENCES = fences_table(metadata)
RESULTS = Table("results", metadata, Column("id", Integer, primary_key=True), Column("writer", String(80)))


async def write(database: Database, name: str, token: int, writer: str) -> None:
    """Write under a token; StaleToken when somebody held the lock since."""
    async with database.write_session() as session:
        await Fences(session, FENCES).pass_(name, token)
        await session.execute(update(RESULTS).values(writer=writer))
        await session.commit()


async def main(redis_url: str, database_url: str, name: str, lease: str) -> None:
    """Hold the lock until it is lost, then write all the same: as a holder does that has not noticed."""
    database = Database(database_url)
    token = 0
    async with redis_client(redis_url) as redis:
        try:
            async with Locks(redis).hold(name, lease=float(lease)) as held:
                token = held.token
                print(token, flush=True)
                await asyncio.Event().wait()
        except LockLost:
            print("lost", flush=True)
    try:
        await write(database, name, token, "the one that was paused")
        print("written", flush=True)
    except StaleToken:
        print("refused", flush=True)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
