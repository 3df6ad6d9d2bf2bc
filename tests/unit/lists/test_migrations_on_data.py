"""Every service's migrations up, down and up again over rows of every table: what can survive survives."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, MetaData

import services.recognition.storage
import services.user
from services.kit.database import Database
from services.kit.database_url import DatabaseUrl
from services.kit.migrations import downgrade, upgrade
from services.kit.migrations_run import change, differences
from services.user.storage import tables
from tests.support.databases import KINDS, new_database
from tests.support.migration_data import contents, fill, survivors

T = TypeVar("T")
USER = Path(services.user.__file__).parent / "migrations"
RECOGNITION = Path(services.recognition.storage.__file__).parent / "migrations"
SERVICES: dict[str, tuple[Path, MetaData]] = {
    "user": (USER, tables.metadata),
    "recognition": (RECOGNITION, services.recognition.storage.Base.metadata),
}


def revisions(migrations: Path) -> list[str]:
    return sorted(path.name[:4] for path in (migrations / "versions").glob("[0-9]*.py"))


async def within(url: str, work: Callable[[Connection], T]) -> T:
    database = Database(url)
    try:
        async with database.write_session() as session:
            result = await (await session.connection()).run_sync(work)
            await session.commit()
            return result
    finally:
        await database.close()


@pytest.fixture(params=KINDS)
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return await new_database(request.param, request, tmp_path)


@pytest.mark.parametrize("service", SERVICES)
async def test_rows_survive_the_way_up_down_and_up(url: str, service: str) -> None:
    migrations, metadata = SERVICES[service]
    numbers = revisions(migrations)
    for revision in numbers:
        before = await within(url, contents)
        assert await change(DatabaseUrl(url), migrations, revision, backwards=False)
        kept, now = survivors(before, await within(url, contents))
        assert now == kept, f"the way up to {revision}"
        await within(url, fill)
    assert await differences(url, metadata) == []
    for revision in reversed(numbers[:-1]):
        before = await within(url, contents)
        assert await downgrade(url, migrations, revision)
        kept, now = survivors(before, await within(url, contents))
        assert now == kept, f"the way down to {revision}"
    before = await within(url, contents)
    assert await upgrade(url, migrations)
    kept, now = survivors(before, await within(url, contents))
    assert now == kept
    assert all(before.values())  # the oldest tables still have their rows
    assert await differences(url, metadata) == []
