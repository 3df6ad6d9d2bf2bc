"""Rows for any table at any revision, so that a migration is tried on a database that is in use."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Connection, DateTime, MetaData, Table, insert, select
from sqlalchemy.types import TypeEngine

ROWS = 3
_VERSIONS = "alembic_version"
Rows = dict[str, list[dict[str, Any]]]


def fill(connection: Connection) -> None:
    """Put some rows into every table that has none, those that others refer to first."""
    metadata = _reflected(connection)
    for table in metadata.sorted_tables:
        if table.name == _VERSIONS or connection.execute(select(table).limit(1)).first():
            continue
        connection.execute(insert(table), [_row(table, number) for number in range(ROWS)])


def contents(connection: Connection) -> Rows:
    """Return all rows of all tables, each in the order of its keys."""
    tables = [table for table in _reflected(connection).sorted_tables if table.name != _VERSIONS]
    found: Rows = {}
    for table in tables:
        ordered = select(table).order_by(*table.primary_key.columns)
        found[table.name] = [dict(row) for row in connection.execute(ordered).mappings()]
    return found


def survivors(before: Rows, after: Rows) -> tuple[Rows, Rows]:
    """Return both with only the tables and columns that both have: there nothing may have changed."""
    tables = before.keys() & after.keys()
    return _cut(before, after, tables), _cut(after, before, tables)


def _cut(rows: Rows, other: Rows, tables: set[str]) -> Rows:
    cut: Rows = {}
    for table in sorted(tables):
        columns = set(other[table][0]) if other[table] else set()
        cut[table] = [{name: value for name, value in row.items() if name in columns} for row in rows[table]]
    return cut


def _reflected(connection: Connection) -> MetaData:
    metadata = MetaData()
    metadata.reflect(connection)
    return metadata


def _row(table: Table, number: int) -> dict[str, Any]:
    """Return a row. Texts are the row's number in every table, which makes references hold and is also valid JSON."""
    return {column.name: _value(column.type, number) for column in table.columns}


def _value(kind: TypeEngine[Any], number: int) -> object:
    if isinstance(kind, DateTime):
        moment = datetime(2026, 1, 1 + number, 1, 2, 3, 456789, tzinfo=UTC)
        return moment if kind.timezone else moment.replace(tzinfo=None)
    if isinstance(kind, JSON):
        return ["a", number]
    values: dict[type, object] = {
        bool: bool(number % 2),
        int: number % 2 if getattr(kind, "display_width", None) == 1 else number + 1,  # a MariaDB flag is a TINYINT(1)
        float: number + 0.123456789012345,
        bytes: hashlib.sha256(str(number).encode()).digest(),
    }
    return values.get(kind.python_type, str(number + 1))
