"""SQLite databases as they are in one moment, copied while services go on writing."""

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_BUSY_SECONDS = 20.0
_PRIVATE_FILE = 0o600
_REVISION = re.compile(r"\d{4}")
# Where rows name stored objects: database → table and column. What is named and not there is told.
_REFERENCES = {"user": ("file_pieces", "object")}


class SnapshotError(Exception):
    """A database cannot be copied; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Open views of some databases, all of the same moment."""

    at: datetime
    views: dict[str, sqlite3.Connection]
    """By the name of the file without its ending, which is that of the service."""


@contextmanager
def one_moment(files: Sequence[Path]) -> Iterator[Moment]:
    """Hold a view of every database inside the block. Writers wait for milliseconds while it begins, and then go on.

    All write locks are taken first, so that no transaction ends between the first view and the last one. Raises
    SnapshotError when a database cannot be opened or is locked for 20 s.
    """
    with ExitStack() as views_open:
        views: dict[str, sqlite3.Connection] = {}
        with ExitStack() as gates:
            for file in sorted(files):
                with _naming(file):
                    gate = gates.enter_context(closing(_open(file)))
                    gate.execute("BEGIN IMMEDIATE")
            for file in sorted(files):
                with _naming(file):
                    view = views_open.enter_context(closing(_open(file)))
                    view.execute("BEGIN")
                    view.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the view begins with its first read
                    views[file.stem] = view
            at = datetime.now(UTC)
        yield Moment(at, views)


def copy(view: sqlite3.Connection, target: Path) -> None:
    """Write the database that a view shows to a new file and check it. Raises SnapshotError when it is damaged."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE))
    with _naming(target), closing(sqlite3.connect(target, isolation_level=None)) as out:
        view.backup(out)
        out.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it; services switch back to WAL
    verify(target)


def verify(file: Path) -> None:
    """Raise SnapshotError unless every page and index of a database is as it should be."""
    with _naming(file), closing(_open(file)) as connection:
        answer = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
        if answer != "ok":
            raise SnapshotError(f"{file.name}: {answer}")


def revision_of(file: Path) -> str | None:
    """Return the number of a database's newest migration, None when it was never migrated."""
    with _naming(file), closing(_open(file)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(row[0]) if row and _REVISION.fullmatch(str(row[0])) else None


def named_objects(service: str, file: Path) -> set[str]:
    """Return the names of the stored objects that rows of a service's database refer to."""
    if service not in _REFERENCES:
        return set()
    table, column = _REFERENCES[service]
    with _naming(file), closing(_open(file)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone():
            return set()
        return {row[0] for row in connection.execute(f"SELECT DISTINCT {column} FROM {table}")}  # noqa: S608 - ours


def _open(file: Path) -> sqlite3.Connection:
    # rw and not ro: a database in WAL mode that nobody has open cannot be read without making its index.
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SnapshotError(f"{file.name}: {error}") from error
