"""What a database driver raises, told in Candela's own errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Index, Table, UniqueConstraint
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.kit.errors import Aborted, CandelaError, Unavailable
from services.kit.types import known_metadata

_CONFLICTS = {"40001", "40P01"}  # serialization failure, deadlock
# Connection exceptions, resources used up, shut-down in progress, a transaction that idled too long.
_OUTAGES = ("08", "53", "57P", "25P03")
_STATEMENT_TIMEOUT = "57014"
_MARIADB_CONFLICTS = {1020, 1205, 1213}  # changed since it was read, waited too long for a lock, deadlock
_MARIADB_OUTAGES = {
    1040, 1053, 1203, 1290, 1836,  # connections used up, shutting down, read-only after a switch-over
    1317, 1969, 3024,  # the statement was ended from outside or took too long
    1047, 1158, 1159, 1160, 1161, 1226, 2003,  # not ready in its cluster, network, limits, nobody there
}  # fmt: skip
_MARIADB_DUPLICATE = 1062
_MARIADB_KEY = re.compile(r"for key '([^']+)'")
_WRITTEN_TABLE = re.compile(r"^\s*(?:INSERT(?: IGNORE)? INTO|UPDATE)\s+[`\"]?(\w+)", re.IGNORECASE)
_SQLITE_BUSY = re.compile(r"database( table| schema)? is locked|unable to open database file|disk I/O error")
_SQLITE_UNIQUE = re.compile(r"UNIQUE constraint failed: (.+)")
_POSTGRES_KEY = re.compile(r"Key \((.+)\)=\(")


class SerializationConflict(Aborted):
    """The database gave this transaction up in favour of another; the same work may well succeed at once."""


def translated(error: Exception) -> CandelaError | None:
    """Return the Candela error that says the same, None for an error that is ours to fix."""
    if isinstance(error, PoolTimeout):
        return Unavailable("all database connections are in use", metadata={"part": "database"}, retry_after=1.0)
    if not isinstance(error, DBAPIError):
        return None
    state = sqlstate(error)
    code = _mariadb_code(error)
    if state in _CONFLICTS or code in _MARIADB_CONFLICTS:
        return SerializationConflict("a concurrent change won; read again and retry")
    if error.connection_invalidated or state == _STATEMENT_TIMEOUT or state.startswith(_OUTAGES):
        return _away()
    if code in _MARIADB_OUTAGES:
        return _away()
    return _away() if _SQLITE_BUSY.search(str(error.orig)) else None


@contextmanager
def reaching_database() -> Iterator[None]:
    """Turn a failure to get a connection into Unavailable; only for the step that connects."""
    try:
        yield
    except (OSError, DBAPIError, PoolTimeout) as error:
        raise (translated(error) or _away()) from error


def _away() -> Unavailable:
    return Unavailable("the database does not answer", metadata={"part": "database"}, retry_after=1.0)


def sqlstate(error: DBAPIError) -> str:
    """Return the five-character SQL state of a PostgreSQL error, empty for other databases."""
    return str(getattr(error.orig, "sqlstate", None) or "")


def _mariadb_code(error: DBAPIError) -> int:
    """Return the number of a MariaDB error, 0 for other databases: their errors begin with a text."""
    first = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return first if isinstance(first, int) else 0


def unique_violation(error: IntegrityError) -> tuple[str, ...] | None:
    """Return the columns of the unique key that a write collided with, None for another kind of violation.

    The same answer on SQLite (`UNIQUE constraint failed: users.tenant, users.email`), PostgreSQL
    (`Key (tenant, email)=(…) already exists`) and MariaDB (`Duplicate entry … for key 'idx_users_email'`):
    `("tenant", "email")`.
    """
    if _mariadb_code(error) == _MARIADB_DUPLICATE:
        return _columns_of_key(error)
    if found := _SQLITE_UNIQUE.search(str(error.orig)):
        return tuple(column.strip().rpartition(".")[2] for column in found[1].split(","))
    if sqlstate(error) != "23505":
        return None
    detail = str(getattr(error.orig.__cause__ if error.orig else None, "detail", "") or "")
    found = _POSTGRES_KEY.search(detail)
    return tuple(column.strip() for column in found[1].split(",")) if found else ()


def _columns_of_key(error: IntegrityError) -> tuple[str, ...]:
    """Return the columns of the key that MariaDB names, as the code's own tables declare it; empty for unknown ones."""
    key = _MARIADB_KEY.search(str(error.orig))
    written = _WRITTEN_TABLE.match(error.statement or "")
    if key is None or written is None:
        return ()
    name = key[1].rpartition(".")[2]  # MySQL puts the table before it
    tables = (metadata.tables.get(written[1]) for metadata in known_metadata())
    return next((columns for table in tables if table is not None and (columns := _key_of(table, name))), ())


def _key_of(table: Table, name: str) -> tuple[str, ...]:
    if name == "PRIMARY":
        return tuple(column.name for column in table.primary_key.columns)
    keys: list[Index | UniqueConstraint] = [*table.indexes]
    keys += [part for part in table.constraints if isinstance(part, UniqueConstraint)]
    return next((tuple(column.name for column in key.columns) for key in keys if key.name == name), ())
