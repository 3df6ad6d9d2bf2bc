"""Statements that SQLAlchemy spells per database."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession


def _insert(session: AsyncSession, table: Table) -> "postgresql.Insert | sqlite.Insert":
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


async def insert_if_absent(session: AsyncSession, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row unless its primary key is there; waits for another transaction that is inserting it."""
    await session.execute(_insert(session, table).values(**row).on_conflict_do_nothing())


async def insert_or_raise(
    session: AsyncSession, table: Table, rows: Sequence[Mapping[str, Any]], keys: Sequence[str], column: str
) -> None:
    """Insert rows; where a primary key is there already, raise `column` to the larger of the two values."""
    if not rows:
        return
    statement = _insert(session, table).values([dict(row) for row in rows])
    new = statement.excluded[column]
    statement = statement.on_conflict_do_update(
        index_elements=[table.c[key] for key in keys], set_={column: new}, where=table.c[column] < new
    )
    await session.execute(statement)
