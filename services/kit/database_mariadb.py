"""MariaDB (and MySQL) behind the kit's promises; loaded only by processes that use one.

Everything in which these servers differ from SQLite and PostgreSQL stands here: engines, transactions, column types,
keys that collide. Sessions run in UTC, in strict mode (a value that does not fit is an error, never cut short), and
compare text by its bytes, trailing spaces included, as the other two do. InnoDB's READ COMMITTED with FOR UPDATE reads
what the last transaction left behind, like PostgreSQL's; readers see one snapshot in a READ ONLY transaction.

What InnoDB does on top: an insert locks the row it collides with and the rows that it refers to, so that transactions
meet more often and may deadlock; that ends in SerializationConflict like everywhere else. Statements that change
tables commit at once: see migrations.py.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import DateTime, Float, LargeBinary, Text, event
from sqlalchemy.dialects.mysql import DATETIME, DOUBLE, LONGBLOB, LONGTEXT, VARBINARY
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import Pool
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import TypeEngine

from services.kit.database_url import DatabaseUrl

_CONNECT_SECONDS = 5
_LONGEST_KEY_BYTES = 768  # VARBINARY up to here may be part of a key of several columns (3072 bytes in all)
_SQL_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE"
_MARIADB_COLLATION, _MYSQL_COLLATION = "utf8mb4_nopad_bin", "utf8mb4_0900_bin"


def mariadb_engines(
    url: DatabaseUrl, *, pool_size: int, pool_timeout: float, statement_timeout: float
) -> tuple[AsyncEngine, AsyncEngine]:
    """Return the engine that writes and the engine that reads snapshots, over one pool; times in seconds."""
    engine = create_async_engine(
        "mysql+aiomysql://",
        connect_args=_arguments(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout,
        pool_pre_ping=True,
        pool_recycle=1800,
    )
    _prepare_sessions(engine, statement_timeout)
    writer, reader = engine.execution_options(candela="writer"), engine.execution_options(candela="reader")
    event.listen(writer.sync_engine, "begin", _begin_writing)
    event.listen(reader.sync_engine, "begin", _begin_reading)
    return writer, reader


def mariadb_migrator(url: DatabaseUrl, pool: type[Pool]) -> AsyncEngine:
    """Return an engine without a statement timeout whose changes of tables may be repeated after they broke off."""
    engine = create_async_engine("mysql+aiomysql://", connect_args=_arguments(url), poolclass=pool)
    _prepare_sessions(engine, 0)
    event.listen(engine.sync_engine, "before_cursor_execute", _repeatable, retval=True)
    return engine


def _arguments(url: DatabaseUrl) -> dict[str, Any]:
    arguments = url.mariadb_arguments
    name = arguments.pop("database")  # which aiomysql calls by another name
    return {**arguments, "db": name, "connect_timeout": _CONNECT_SECONDS}


def _prepare_sessions(engine: AsyncEngine, statement_timeout: float) -> None:
    def prepare(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT VERSION()")
        row = cursor.fetchone()
        is_mariadb = row is not None and "mariadb" in str(row[0]).lower()
        collation = _MARIADB_COLLATION if is_mariadb else _MYSQL_COLLATION
        settings = ["time_zone = '+00:00'", f"sql_mode = '{_SQL_MODE}'", f"collation_connection = '{collation}'"]
        if is_mariadb:
            settings.append(f"max_statement_time = {statement_timeout}")
            # A process that hangs inside a transaction must not hold its locks for ever.
            settings.append(f"idle_transaction_timeout = {math.ceil(statement_timeout)}")
        else:
            settings.append(f"max_execution_time = {int(statement_timeout * 1000)}")
            settings.append(f"innodb_lock_wait_timeout = {math.ceil(statement_timeout) or 50}")
        cursor.execute("SET SESSION " + ", SESSION ".join(settings))
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.close()

    event.listen(engine.sync_engine, "connect", prepare)


def _begin_writing(connection: Connection) -> None:
    connection.exec_driver_sql("START TRANSACTION READ WRITE")


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # for the next one only
    connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")


# Changes of tables commit one by one, so a migration may break off half way. Done again, it takes what is there.
_REPEATABLE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"^(\s*{pattern})\s+(?!IF\s)", re.IGNORECASE), replacement)
    for pattern, replacement in (
        ("CREATE TABLE", r"\1 IF NOT EXISTS "),
        ("CREATE (?:UNIQUE )?INDEX", r"\1 IF NOT EXISTS "),
        ("DROP TABLE", r"\1 IF EXISTS "),
        ("DROP INDEX", r"\1 IF EXISTS "),
        (r"ALTER TABLE \S+ ADD COLUMN", r"\1 IF NOT EXISTS "),
        (r"ALTER TABLE \S+ DROP COLUMN", r"\1 IF EXISTS "),
        (r"ALTER TABLE \S+ DROP CONSTRAINT", r"\1 IF EXISTS "),
        (r"ALTER TABLE \S+ ADD CONSTRAINT(?=\s+\S+\s+CHECK)", r"\1 IF NOT EXISTS "),
    )
)


def _repeatable(
    connection: Connection, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool
) -> tuple[str, Any]:
    if getattr(connection.dialect, "is_mariadb", False):
        for pattern, replacement in _REPEATABLE:
            statement, changed = pattern.subn(replacement, statement, count=1)
            if changed:
                break
    return statement, parameters


@compiles(CreateTable, "mysql", "mariadb")
def _create_table(element: CreateTable, compiler: Any, **options: Any) -> str:
    """Make every table transactional and compare text by its bytes, whatever the database's own default is."""
    collation = _MARIADB_COLLATION if compiler.dialect.is_mariadb else _MYSQL_COLLATION
    made: str = compiler.visit_create_table(element, **options)
    return f"{made.rstrip()} ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE={collation}"


def _instead(type_: type[TypeEngine[Any]], other: Callable[[Any], TypeEngine[Any]]) -> None:
    @compiles(type_, "mysql", "mariadb")
    def compile_other(element: Any, compiler: Any, **options: Any) -> str:
        spelt: str = compiler.process(other(element), **options)
        return spelt


# Moments keep their microseconds, numbers their 53 bits; what has no length may be longer than 64 KiB; digests may be
# part of a key.
_instead(DateTime, lambda _: DATETIME(fsp=6))
_instead(Float, lambda _: DOUBLE())
_instead(Text, lambda _: LONGTEXT())
_instead(
    LargeBinary,
    lambda given: VARBINARY(given.length) if given.length and given.length <= _LONGEST_KEY_BYTES else LONGBLOB(),
)
