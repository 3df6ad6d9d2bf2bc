"""Fixtures of the user service's suites: its world over every database, and a real Redis."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from services.kit.database import Database, DatabaseOptions
from tests.support.databases import database, database_url, postgres
from tests.support.redis_server import redis, redis_url, shared_redis
from tests.unit.user.world import World, new_world

__all__ = ["database", "database_url", "postgres", "redis", "redis_url", "shared_redis"]


@pytest_asyncio.fixture
async def world(database: Database) -> AsyncIterator[World]:
    """The use cases over an empty database, once for each kind."""
    world = await new_world(database)
    yield world
    world.close()


@pytest_asyncio.fixture
async def small_world(tmp_path: Path) -> AsyncIterator[World]:
    """The use cases over SQLite, for what does not depend on the database."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'user.db'}", DatabaseOptions(synchronous="NORMAL"))
    world = await new_world(database)
    yield world
    world.close()
    await database.close()
