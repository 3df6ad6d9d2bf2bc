"""The part of migrations that needs Alembic: locking, upgrading, downgrading, comparing."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from services.kit.database import DatabaseOptions, sqlite_engine
from services.kit.database_url import DatabaseKind, DatabaseUrl
from services.kit.migrations import MigrationError, newest_revision

_ENVIRONMENT = Path(__file__).parent / "migrations_env"
# Any number, the same for all: advisory locks are per database, and each service has its own.
_ADVISORY_LOCK = 0x63616E64656C61
# Named locks are the server's: the database's name, as far as it fits into 64 characters, tells them apart.
_TAKE_NAMED_LOCK = "SELECT GET_LOCK(CONCAT('candela ', RIGHT(DATABASE(), 56)), :seconds)"
_LOCK_SECONDS = 3600


async def change(url: DatabaseUrl, migrations: Path, target: str, *, backwards: bool) -> bool:
    """Move a database to `target` under the lock; False when there was nothing to do.

    In one transaction, but for MariaDB: there Alembic commits after each version.
    """
    async with _locked(url) as connection:
        if url.kind is DatabaseKind.MARIADB:
            return await connection.run_sync(_change, migrations, target, backwards)
        async with connection.begin():
            changed = await connection.run_sync(_change, migrations, target, backwards)
            if changed and url.is_sqlite:
                await _check_references(connection)
        return changed


async def differences(url: str, metadata: MetaData) -> list[str]:
    """Return how a migrated database differs from what the code declares: empty when the migrations are complete."""
    async with _connected(DatabaseUrl(url)) as connection:
        return await connection.run_sync(_differences, metadata)


def _differences(connection: Connection, metadata: MetaData) -> list[str]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [repr(step) for step in compare_metadata(context, metadata)]


def _change(connection: Connection, migrations: Path, target: str, backwards: bool) -> bool:
    config = _config(connection, migrations)
    try:
        script = ScriptDirectory.from_config(config)
        if script.get_heads() != [newest_revision(migrations)]:
            raise MigrationError(f"{migrations}: the last version file is not the only one without a successor")
        before = MigrationContext.configure(connection).get_current_revision()
        if connection.dialect.name == "mysql":
            connection.rollback()  # the question opened a transaction; Alembic opens and commits one per version
        if (before or "base") == target:
            return False
        (command.downgrade if backwards else command.upgrade)(config, target)
    except CommandError as error:
        raise MigrationError(f"the database does not fit this version of Candela: {error}") from error
    return True


def _config(connection: Connection, migrations: Path) -> Config:
    """Point Alembic at the kit's environment and a service's version files; % is special in its settings."""
    config = Config()
    config.set_main_option("script_location", str(_ENVIRONMENT).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(migrations / "versions").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@asynccontextmanager
async def _locked(url: DatabaseUrl) -> AsyncIterator[AsyncConnection]:
    if url.is_sqlite:
        path = url.path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # personal data: for the owner's eyes only
        lock = os.open(path.with_name(path.name + ".migrate-lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            async with _connected(url) as connection:
                yield connection
        finally:
            os.close(lock)  # which also unlocks
        return
    async with _connected(url) as connection:
        if url.kind is DatabaseKind.MARIADB:
            taken = await connection.scalar(text(_TAKE_NAMED_LOCK), {"seconds": _LOCK_SECONDS})
            if taken != 1:
                raise MigrationError("another process has been migrating this database for an hour")
        else:
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
        await connection.commit()
        yield connection  # the lock belongs to the connection and ends with it


@asynccontextmanager
async def _connected(url: DatabaseUrl) -> AsyncIterator[AsyncConnection]:
    """Connect without a statement timeout (a migration may take long) and without SQLite's foreign keys.

    Batch mode makes a new table, copies, and drops the old one; with foreign keys on, that drop would delete every row
    that points at the table.
    """
    if url.is_sqlite:
        engine = sqlite_engine(url, DatabaseOptions(busy_timeout=60.0), write=True, foreign_keys=False)
    elif url.kind is DatabaseKind.MARIADB:
        from services.kit.database_mariadb import mariadb_migrator  # noqa: PLC0415 - others need not carry its driver

        engine = mariadb_migrator(url, NullPool)
    else:
        engine = create_async_engine(url.text, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


async def _check_references(connection: AsyncConnection) -> None:
    broken = (await connection.execute(text("PRAGMA foreign_key_check"))).all()
    if broken:
        raise MigrationError(f"the migration would leave {len(broken)} references to rows that are not there")
