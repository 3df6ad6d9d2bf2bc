"""Statements that every database spells differently: storages say what they mean, the spelling stands here."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Executable, Table, func
from sqlalchemy.ext.asyncio import AsyncSession

Row = Mapping[str, Any]


class _Spelling(Protocol):
    """One database's way of inserting rows of which some may be there."""

    def __call__(self, table: Table, rows: Sequence[Row], keys: Sequence[str], raised: str | None) -> Executable:
        """Return the insert. Where a row is there, raise column `raised` to the larger value; None: leave the row."""


async def insert_if_absent(session: AsyncSession, table: Table, row: Row) -> None:
    """Insert a row unless one of its unique keys is there; waits for another transaction that is inserting it."""
    await session.execute(_spelling(session)(table, [row], [], None))


async def insert_or_raise(
    session: AsyncSession, table: Table, rows: Sequence[Row], keys: Sequence[str], column: str
) -> None:
    """Insert rows; where a primary key (`keys`) is there already, raise `column` to the larger of the two values."""
    if rows:
        await session.execute(_spelling(session)(table, rows, keys, column))


def _spelling(session: AsyncSession) -> _Spelling:
    name = session.get_bind().dialect.name
    return {"postgresql": _postgresql, "sqlite": _sqlite}.get(name, _mariadb)


# The dialects are imported where they are used: none but the one in use costs memory.


def _postgresql(table: Table, rows: Sequence[Row], keys: Sequence[str], raised: str | None) -> Executable:
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415

    statement = postgresql.insert(table).values([dict(row) for row in rows])
    if raised is None:
        return statement.on_conflict_do_nothing()
    new = statement.excluded[raised]
    return statement.on_conflict_do_update(
        index_elements=[table.c[key] for key in keys], set_={raised: new}, where=table.c[raised] < new
    )


def _sqlite(table: Table, rows: Sequence[Row], keys: Sequence[str], raised: str | None) -> Executable:
    from sqlalchemy.dialects import sqlite  # noqa: PLC0415

    statement = sqlite.insert(table).values([dict(row) for row in rows])
    if raised is None:
        return statement.on_conflict_do_nothing()
    new = statement.excluded[raised]
    return statement.on_conflict_do_update(
        index_elements=[table.c[key] for key in keys], set_={raised: new}, where=table.c[raised] < new
    )


def _mariadb(table: Table, rows: Sequence[Row], keys: Sequence[str], raised: str | None) -> Executable:
    from sqlalchemy.dialects import mysql  # noqa: PLC0415

    statement = mysql.insert(table).values([dict(row) for row in rows])
    if raised is None:
        # Not INSERT IGNORE, which would also cut values short and drop rows whose references are missing.
        same = next(iter(table.primary_key.columns))
        return statement.on_duplicate_key_update({same.name: same})
    larger = func.greatest(table.c[raised], statement.inserted[raised])
    return statement.on_duplicate_key_update({raised: larger})
