"""Migrations: every service's database is brought up to date by one process before the others start.

    MIGRATIONS = Path(__file__).parent / "migrations"      # services/user/main.py, for `… main migrate`
    migrate(settings.database_url, MIGRATIONS)

Version files are `migrations/versions/NNNN_what.py` in one line of descent, and `revision` in each is its number, so
that "is there anything to do?" is answered from file names and one query, without loading Alembic. Only the answer
"yes" loads it, takes the lock (a file beside a SQLite database, an advisory lock in PostgreSQL, a named one in
MariaDB), looks again and upgrades in one transaction: after a failure the database is as it was. MariaDB commits every
change of a table at once: there each version is a step of its own, and one that broke off is done again from its
beginning, taking what it finds.
"""

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from services.kit.database_url import DatabaseKind, DatabaseUrl

_NAME = re.compile(r"(\d{4})_\w+\.py")
_VERSION_QUERY = "SELECT version_num FROM alembic_version"


def migrate(url: str, migrations: Path) -> bool:
    """Bring a database to the newest version; return False when it was there already.

    May be called by many processes at once: one works, the others wait and find nothing to do. MigrationError when the
    database is newer than this code or a version file breaks the rules. Not for use inside a running event loop: see
    `upgrade`.
    """
    if is_current(DatabaseUrl(url), migrations):
        return False
    return asyncio.run(upgrade(url, migrations))


async def upgrade(url: str, migrations: Path) -> bool:
    """Do what `migrate` does inside a running event loop."""
    from services.kit.migrations_run import change  # noqa: PLC0415 - Alembic is loaded only when there is work

    newest = newest_revision(migrations)
    return await change(DatabaseUrl(url), migrations, newest, backwards=False)


async def downgrade(url: str, migrations: Path, revision: str = "base") -> bool:
    """Take a database back to `revision` (before the first one by default); False when it was there already."""
    from services.kit.migrations_run import change  # noqa: PLC0415

    return await change(DatabaseUrl(url), migrations, revision, backwards=True)


class MigrationError(Exception):
    """The database and the version files do not fit together."""


def newest_revision(migrations: Path) -> str:
    """Return the number of the last version file; MigrationError when there is none or one is misnamed."""
    numbers = []
    for path in (migrations / "versions").glob("*.py"):
        if path.name == "__init__.py":
            continue
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name}: a version file is named NNNN_what.py")
        numbers.append(match[1])
    if not numbers or len(set(numbers)) != len(numbers):
        raise MigrationError(f"{migrations}: no version files, or two of the same number")
    return max(numbers)


def is_current(url: DatabaseUrl, migrations: Path) -> bool:
    """Say whether a database has the newest version. Not for PostgreSQL inside a running event loop."""
    newest = newest_revision(migrations)
    match url.kind:
        case DatabaseKind.SQLITE:
            return newest == _sqlite_revision(url.path)
        case DatabaseKind.MARIADB:
            return newest == _mariadb_revision(url)
        case DatabaseKind.POSTGRESQL:
            return newest == asyncio.run(_postgres_revision(url.dsn))


def _sqlite_revision(path: Path) -> str | None:
    if not path.is_file():
        return None
    with closing(sqlite3.connect(path)) as connection:
        try:
            row = connection.execute(_VERSION_QUERY).fetchone()
        except sqlite3.OperationalError:  # no such table: never migrated
            return None
    return row[0] if row else None


async def _postgres_revision(dsn: str) -> str | None:
    import asyncpg  # noqa: PLC0415 - 50 ms that SQLite need not wait for

    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        found: str | None = await connection.fetchval(_VERSION_QUERY)
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()
    return found


def _mariadb_revision(url: DatabaseUrl) -> str | None:
    import pymysql  # noqa: PLC0415 - only where it is used
    from pymysql.constants import ER  # noqa: PLC0415

    connected = pymysql.connect(connect_timeout=10, **url.mariadb_arguments)
    with closing(connected) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(_VERSION_QUERY)
        except pymysql.err.ProgrammingError as error:
            if error.args[0] != ER.NO_SUCH_TABLE:
                raise
            return None
        row = cursor.fetchone()
    return str(row[0]) if row else None
