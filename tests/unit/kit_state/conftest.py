"""Fixtures of the state half of the kit: a small service's storage over every database."""

from collections.abc import AsyncIterator

import pytest_asyncio

from services.kit.clock import ManualClock
from services.kit.database import Database
from services.kit.secrets import Envelope
from tests.support.databases import database, database_url, postgres
from tests.support.redis_server import redis, redis_url, shared_redis
from tests.support.s3_server import s3_server, s3_url
from tests.unit.kit_state.accounts import CLAIMS, Bank, metadata

__all__ = ["bank", "database", "database_url", "postgres", "redis", "redis_url", "s3_server", "s3_url", "shared_redis"]


@pytest_asyncio.fixture
async def bank(database: Database) -> AsyncIterator[Bank]:
    """A service with one account of 0 and its claims, on each database."""
    async with database.write_session() as session:
        await (await session.connection()).run_sync(metadata.create_all)
        await session.commit()
    bank = Bank(database, CLAIMS, ManualClock(), Envelope([b"k" * 32]))
    async with bank.units.write() as tx:
        await tx.accounts.open("a")
    yield bank
