"""The history on every database: what goes in comes out, for its owner only, newest first."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

import services.recognition.storage as recognition_storage
from services.kit.database import Database
from services.kit.migrations import upgrade
from services.kit.paging import Page, PageRequest
from services.kit.uow_sql import SqlUnits
from services.recognition.domain.documents import Recognition
from services.recognition.storage import SqlRecognitionTx, pack, unpack
from tests.support.databases import up_down_up
from tests.unit.recognition.pages import document, recognition

MIGRATIONS = Path(recognition_storage.__file__).parent / "migrations"

Units = SqlUnits[SqlRecognitionTx]


@pytest.fixture
async def units(database_url: str) -> AsyncIterator[Units]:
    await upgrade(database_url, MIGRATIONS)
    database = Database(database_url)
    yield SqlUnits(database, SqlRecognitionTx)
    await database.close()


async def store(units: Units, *numbers: int, user: str = "ada", tenant: str = "default") -> None:
    async with units.write() as tx:
        for number in numbers:
            await tx.history.add(tenant, user, recognition(number, minutes=number // 2))


async def page_of(units: Units, wanted: PageRequest, user: str = "ada", tenant: str = "default") -> Page[Recognition]:
    async with units.read() as tx:
        return await tx.history.page(tenant, user, wanted)


async def ids(units: Units) -> list[str]:
    return [recognition.id for recognition in (await page_of(units, PageRequest())).items]


async def test_migrations_make_the_tables_of_the_code(database_url: str) -> None:
    await up_down_up(database_url, MIGRATIONS, recognition_storage.Base.metadata)


async def test_a_recognition_comes_back_as_it_was(units: Units) -> None:
    await store(units, 1)
    async with units.read() as tx:
        assert await tx.history.get("default", "ada", "r00001", full=True) == recognition(1)
        brief = await tx.history.get("default", "ada", "r00001", full=False)
    assert brief == replace(recognition(1), document=None)


def test_documents_are_packed_without_loss() -> None:
    for each in (document(), document("a b", "漢字 \N{PILE OF POO}")):
        assert unpack(pack(each)) == each


@pytest.mark.parametrize(("tenant", "user"), [("default", "eve"), ("other", "ada")])
async def test_nobody_else_sees_or_deletes_it(units: Units, tenant: str, user: str) -> None:
    await store(units, 1)
    async with units.write() as tx:
        assert await tx.history.get(tenant, user, "r00001", full=True) is None
        assert not await tx.history.delete(tenant, user, "r00001")
    assert (await page_of(units, PageRequest(), user, tenant)).items == []
    assert await ids(units) == ["r00001"]


async def test_pages_run_from_the_newest_without_gap_or_repeat(units: Units) -> None:
    await store(units, *range(1, 12))
    whole = [f"r{n:05d}" for n in range(11, 0, -1)]
    assert await ids(units) == whole
    seen: list[str] = []
    wanted: PageRequest | None = PageRequest(4)
    while wanted is not None:
        page = await page_of(units, wanted)
        seen += [recognition.id for recognition in page.items]
        wanted = PageRequest(4, page.next) if page.next else None
        await store(units, 100 + len(seen))
    assert seen == whole


async def test_what_is_deleted_is_gone(units: Units) -> None:
    await store(units, 1, 2)
    async with units.write() as tx:
        assert await tx.history.delete("default", "ada", "r00001")
        assert not await tx.history.delete("default", "ada", "r00001")
    assert await ids(units) == ["r00002"]
