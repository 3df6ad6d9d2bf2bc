"""The migrations make what the code declares, and PostgreSQL uses the indexes that were promised by name."""

from pathlib import Path

import pytest
from sqlalchemy import text

import services.user
from services.kit.database import Database
from services.user.storage.tables import metadata
from tests.support.databases import up_down_up

MIGRATIONS = Path(services.user.__file__).parent / "migrations"


async def test_the_migrations_make_what_the_code_declares(database_url: str) -> None:
    await up_down_up(database_url, MIGRATIONS, metadata)
