"""Fixtures that run one storage suite over every database: import them into a suite's conftest.py."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import MetaData

from services.kit.database import Database
from services.kit.database_url import DatabaseUrl
from services.kit.migrations import downgrade, upgrade
from services.kit.migrations_run import differences
from tests.support.binaries import NOT_RUN
from tests.support.postgres import NoPostgresError, PostgresServer, postgres_server

_numbers = itertools.count(1)


class PostgresOnDemand:
    """Starts the one server of a test session when a test first asks for it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._server: PostgresServer | None = None
        self._why_not = ""

    def server(self) -> PostgresServer:
        """Return the running server; the test is reported as not run when there can be none."""
        if self._server is None and not self._why_not:
            try:
                self._server = self._stack.enter_context(postgres_server())
            except NoPostgresError as error:
                self._why_not = str(error)
        if self._server is None:
            pytest.skip(NOT_RUN + self._why_not)
        return self._server


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


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once for each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    on_demand: PostgresOnDemand = request.getfixturevalue("postgres")
    return await new_postgres_database(on_demand.server())


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
