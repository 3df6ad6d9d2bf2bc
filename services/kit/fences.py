"""Fences: what a lock protects refuses holders from before the last one (see locks.py).

The row of a fence remembers the largest token that has passed. Passing is the first statement of a transaction that
changes what the lock protects: the row stays locked until the transaction ends, so a former holder either comes before
the next one's first write or is refused.
"""

from sqlalchemy import BigInteger, Column, MetaData, String, Table, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.database import for_update
from services.kit.errors import Aborted
from services.kit.statements import insert_if_absent

TABLE = "fences"
MAX_NAME = 200


class StaleToken(Aborted):
    """Somebody else has held the lock since; nothing may be written under this token."""


def fences_table(metadata: MetaData) -> Table:
    """Add the table to a service's metadata. Its migration is `migrations_tables.create_fences`."""
    return Table(
        TABLE,
        metadata,
        Column("name", String(MAX_NAME), primary_key=True),
        Column("token", BigInteger, nullable=False, autoincrement=False),
    )


class Fences:
    """The fences of one service's database, inside one transaction."""

    def __init__(self, session: AsyncSession, table: Table) -> None:
        self._session = session
        self._table = table

    async def pass_(self, name: str, token: int) -> None:
        """Let the holder with `token` write in this transaction, and nobody older from now on; StaleToken if older."""
        table = self._table
        await insert_if_absent(self._session, table, {"name": name, "token": token})
        known = (
            await self._session.execute(for_update(select(table.c.token).where(table.c.name == name)))
        ).scalar_one()
        if known > token:
            raise StaleToken(f"the lock {name!r} was held by somebody else since", metadata={"lock": name})
        if known < token:
            await self._session.execute(update(table).where(table.c.name == name).values(token=token))
