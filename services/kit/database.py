"""Databases: engines that do not lose writes, the same promises on SQLite, PostgreSQL and MariaDB.

**SQLite.** Left alone, the driver starts transactions late and deferred: two tasks read the same row, both write, one
write is gone and nobody hears of it. Here the driver starts none; every write transaction begins with BEGIN IMMEDIATE,
so it owns the only write lock *before* it reads. Writers share one connection per process and queue for it first come
first served (SQLite's own waiting is a lottery of sleeps; between processes `busy_timeout` bounds it); readers have
connections of their own that cannot write and see one snapshot (WAL).

**PostgreSQL.** Write transactions are READ COMMITTED and a repository that reads a row in order to change it reads it
through `for_update()`: the second reader waits and then sees the first one's result, with no retry. (REPEATABLE READ
would turn every such wait into a failure that somebody must retry.) What cannot be locked (a deadlock, or a stricter
isolation asked for) ends in `SerializationConflict`, which `Units.run` retries. Read transactions are REPEATABLE READ,
READ ONLY: one snapshot, as on SQLite, and never a conflict.

**MariaDB** keeps the same promises by the same means: see database_mariadb.py, which is loaded only where it is used.
"""

from dataclasses import dataclass
from typing import Literal, TypeVarTuple

from sqlalchemy import Select, event, text
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import QueuePool

from services.kit.database_url import DatabaseKind, DatabaseUrl

_SQLITE_READERS = 4
RowT = TypeVarTuple("RowT")


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """How a database is used. Times are in seconds.

    `pool_size` counts one process's connections to a server (SQLite has one writer and four readers).
    `pool_timeout` bounds the wait for a free connection, `busy_timeout` the wait for another process's SQLite write,
    `statement_timeout` one statement on a server, its waiting for locks included. SQLite's `synchronous` FULL survives
    power loss at every commit; NORMAL may lose the last commits then, and never corrupts.
    """

    pool_size: int = 20
    pool_timeout: float = 10.0
    busy_timeout: float = 10.0
    statement_timeout: float = 30.0
    synchronous: Literal["FULL", "NORMAL"] = "FULL"


class Database:
    """One service's database: sessions that write, sessions that read, and how many connections are in use."""

    def __init__(self, url: str, options: DatabaseOptions = DatabaseOptions()) -> None:
        """Prepare the engines; nothing is opened until first used. ValueError for a URL of another kind."""
        self.url = DatabaseUrl(url)
        self._writer, self._reader = _engines(self.url, options)

    def write_session(self) -> AsyncSession:
        """Return a session whose transaction may write. Use cases go through Units instead."""
        return AsyncSession(self._writer, expire_on_commit=False)

    def read_session(self) -> AsyncSession:
        """Return a session over one unchanging snapshot; writing through it fails."""
        return AsyncSession(self._reader, expire_on_commit=False, autoflush=False)

    @property
    def connections_active(self) -> int:
        """Return how many connections are checked out now: the value of `database_connections_active`."""
        pools = {id(engine.pool): engine.pool for engine in (self._writer, self._reader)}
        return sum(pool.checkedout() for pool in pools.values() if isinstance(pool, QueuePool))

    async def ping(self) -> None:
        """Ask the database for one row; raises what the driver raises when it is away."""
        async with self._reader.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self._writer.dispose()
        await self._reader.dispose()


def _engines(url: DatabaseUrl, options: DatabaseOptions) -> tuple[AsyncEngine, AsyncEngine]:
    """Return the engine whose transactions write and the one whose transactions read snapshots."""
    if url.kind is DatabaseKind.SQLITE:
        return sqlite_engine(url, options, write=True), sqlite_engine(url, options, write=False)
    if url.kind is DatabaseKind.MARIADB:
        from services.kit.database_mariadb import mariadb_engines  # noqa: PLC0415 - others need not carry its driver

        return mariadb_engines(
            url,
            pool_size=options.pool_size,
            pool_timeout=options.pool_timeout,
            statement_timeout=options.statement_timeout,
        )
    writer = _postgres_engine(url, options)
    return writer, writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def for_update(statement: Select[*RowT]) -> Select[*RowT]:
    """Return the select that locks the rows it reads, for every read that a write depends on.

    Rows that the session has seen before are read afresh: without `populate_existing` the lock would be taken and the
    old values used. SQLite has no row locks and needs none (its writer is alone).
    """
    return statement.with_for_update().execution_options(populate_existing=True)


def for_share(statement: Select[*RowT]) -> Select[*RowT]:
    """Return the select whose rows nobody changes until the transaction ends; others may hold them the same way."""
    return statement.with_for_update(read=True).execution_options(populate_existing=True)


def sqlite_engine(url: DatabaseUrl, options: DatabaseOptions, *, write: bool, foreign_keys: bool = True) -> AsyncEngine:
    """Return an engine over a SQLite file whose transactions are IMMEDIATE (write) or read-only snapshots."""
    engine = create_async_engine(
        url.text,
        pool_size=1 if write else _SQLITE_READERS,
        max_overflow=0,
        pool_timeout=options.pool_timeout,
    )
    pragmas = [
        f"busy_timeout={int(options.busy_timeout * 1000)}",  # first: the next ones may have to wait
        "journal_mode=WAL",
        f"synchronous={options.synchronous}",
        f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
    ]
    if not write:
        pragmas.append("query_only=ON")

    def prepare(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # the driver shall begin nothing by itself
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN DEFERRED")

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", begin)
    return engine


def _postgres_engine(url: DatabaseUrl, options: DatabaseOptions) -> AsyncEngine:
    milliseconds = str(int(options.statement_timeout * 1000))
    return create_async_engine(
        url.text,
        pool_size=options.pool_size,
        max_overflow=0,
        pool_timeout=options.pool_timeout,
        pool_pre_ping=True,
        pool_recycle=1800,
        isolation_level="READ COMMITTED",
        connect_args={
            "timeout": 5,
            "server_settings": {
                "application_name": "candela",
                "timezone": "UTC",
                "statement_timeout": milliseconds,
                # A process that hangs inside a transaction must not hold its locks for ever.
                "idle_in_transaction_session_timeout": milliseconds,
            },
        },
    )
