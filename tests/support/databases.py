"""Fixtures that run one storage suite over every database: import them into a suite's conftest.py."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Generic, TypeVar

import asyncpg
import pymysql
import pytest
import pytest_asyncio
from sqlalchemy import MetaData

from services.kit.database import Database
from services.kit.database_url import DatabaseUrl
from services.kit.migrations import downgrade, upgrade
from services.kit.migrations_run import differences
from tests.support.binaries import NOT_RUN
from tests.support.mariadb import MariaDbServer, NoMariaDbError, mariadb_server
from tests.support.postgres import NoPostgresError, PostgresServer, postgres_server

KINDS = ("sqlite", "postgresql", "mariadb")
_numbers = itertools.count(1)
ServerT = TypeVar("ServerT")


class _OnDemand(Generic[ServerT]):
    """Starts the one server of a kind in a test session when a test first asks for it."""

    def __init__(self, stack: ExitStack, start: Callable[[], AbstractContextManager[ServerT]]) -> None:
        self._stack = stack
        self._start = start
        self._server: ServerT | None = None
        self._why_not = ""

    def server(self) -> ServerT:
        """Return the running server; the test is reported as not run when there can be none."""
        if self._server is None and not self._why_not:
            try:
                self._server = self._stack.enter_context(self._start())
            except (NoPostgresError, NoMariaDbError) as error:
                self._why_not = str(error)
        if self._server is None:
            pytest.skip(NOT_RUN + self._why_not)
        return self._server


class PostgresOnDemand(_OnDemand[PostgresServer]):
    """The session's PostgreSQL."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack, postgres_server)


class MariaDbOnDemand(_OnDemand[MariaDbServer]):
    """The session's MariaDB. Its fixture `mariadb` is every suite's: see tests/conftest.py."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack, mariadb_server)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresOnDemand]:
    """The session's PostgreSQL."""
    with ExitStack() as stack:
        yield PostgresOnDemand(stack)


async def new_postgres_database(server: PostgresServer) -> str:
    """Create an empty database and return its URL."""
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(DatabaseUrl(server.url()).dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return server.url(name)


async def new_mariadb_database(server: MariaDbServer) -> str:
    """Create an empty database and return its URL."""
    name = f"test_{next(_numbers)}"
    await asyncio.to_thread(_create_mariadb_database, server, name)
    return server.url(name)


def _create_mariadb_database(server: MariaDbServer, name: str) -> None:
    with pymysql.connect(**DatabaseUrl(server.url()).mariadb_arguments) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")


async def new_database(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Create an empty database of a kind in KINDS and return its URL; "not run" where there is no such server."""
    if kind == "sqlite":
        return f"sqlite+aiosqlite:///{folder / f'test_{next(_numbers)}.db'}"
    if kind == "mariadb":
        mariadb: MariaDbOnDemand = request.getfixturevalue("mariadb")
        return await new_mariadb_database(mariadb.server())
    postgres: PostgresOnDemand = request.getfixturevalue("postgres")
    return await new_postgres_database(postgres.server())


@pytest_asyncio.fixture(params=KINDS)
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once for each kind."""
    return await new_database(request.param, request, tmp_path)


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database, once for each kind."""
    opened = Database(database_url)
    yield opened
    await opened.close()


async def up_down_up(url: str, migrations: Path, metadata: MetaData) -> None:
    """Show that a service's migrations make what its code declares, can be undone, and can then be done again."""
    for _ in range(2):
        assert await upgrade(url, migrations)
        assert await differences(url, metadata) == []
        assert not await upgrade(url, migrations)
        assert await downgrade(url, migrations)
        left = await differences(url, MetaData())
        assert [step for step in left if "alembic_version" not in step] == []
    assert await upgrade(url, migrations)
    assert await differences(url, metadata) == []
