"""What a database driver raises, told in Candela's own errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.kit.errors import Aborted, CandelaError, Unavailable

_CONFLICTS = {"40001", "40P01"}  # serialization failure, deadlock
# Connection exceptions, resources used up, shut-down in progress, a transaction that idled too long.
_OUTAGES = ("08", "53", "57P", "25P03")
_STATEMENT_TIMEOUT = "57014"
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
    if state in _CONFLICTS:
        return SerializationConflict("a concurrent change won; read again and retry")
    if error.connection_invalidated or state == _STATEMENT_TIMEOUT or state.startswith(_OUTAGES):
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
    """Return the five-character SQL state of a PostgreSQL error, empty for SQLite."""
    return str(getattr(error.orig, "sqlstate", None) or "")


def unique_violation(error: IntegrityError) -> tuple[str, ...] | None:
    """Return the columns of the unique key that a write collided with, None for another kind of violation.

    The same answer on SQLite (`UNIQUE constraint failed: users.tenant, users.email`) and PostgreSQL
    (`Key (tenant, email)=(…) already exists`): `("tenant", "email")`.
    """
    if found := _SQLITE_UNIQUE.search(str(error.orig)):
        return tuple(column.strip().rpartition(".")[2] for column in found[1].split(","))
    if sqlstate(error) != "23505":
        return None
    detail = str(getattr(error.orig.__cause__ if error.orig else None, "detail", "") or "")
    found = _POSTGRES_KEY.search(detail)
    return tuple(column.strip() for column in found[1].split(",")) if found else ()
