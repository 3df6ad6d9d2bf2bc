"""Migrations on every database: complete, reversible, one at a time, quick when there is nothing to do."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from services.kit.database import Database
from services.kit.database_url import DatabaseUrl
from services.kit.migrations import MigrationError, downgrade, migrate, upgrade
from services.kit.migrations_run import differences
from tests.support.databases import up_down_up
from tests.unit.kit_state.accounts import metadata

MIGRATIONS = Path(__file__).parent / "migrations"
BROKEN = """
from alembic import op
revision = "0003"
down_revision = "0002"
def upgrade():
    op.drop_column("accounts", "seen_at")
    op.execute("SELECT nonsense")
def downgrade():
    raise NotImplementedError
"""


MORE = """
import sqlalchemy as sa
from alembic import op
revision = "0003"
down_revision = "0002"
def downgrade():
    with op.batch_alter_table("accounts") as batch:
        batch.drop_column("note")
    op.drop_table("more")
def upgrade():
    op.create_table("more", sa.Column("id", sa.String(64), primary_key=True))
    op.create_index("ix_more", "more", ["id"])
    with op.batch_alter_table("accounts") as batch:
        batch.add_column(sa.Column("note", sa.String(8), nullable=True))
"""


async def test_up_down_up_ends_where_the_code_is(database_url: str) -> None:
    await up_down_up(database_url, MIGRATIONS, metadata)


async def test_eight_starters_at_once_migrate_once(database_url: str) -> None:
    results = await asyncio.gather(*(upgrade(database_url, MIGRATIONS) for _ in range(8)))
    assert sorted(results) == [False] * 7 + [True]
    assert await differences(database_url, metadata) == []


async def test_a_migration_that_copies_a_table_keeps_the_rows_that_point_at_it(
    database_url: str, tmp_path: Path
) -> None:
    first_only = tmp_path / "first"
    (first_only / "versions").mkdir(parents=True)
    shutil.copy(MIGRATIONS / "versions/0001_accounts.py", first_only / "versions")
    await upgrade(database_url, first_only)
    database = Database(database_url)
    async with database.write_session() as session:
        await session.execute(text("INSERT INTO accounts (id, balance) VALUES ('a', 1)"))
        await session.execute(text("INSERT INTO entries (id, account) VALUES ('e', 'a')"))
        await session.commit()
    await upgrade(database_url, MIGRATIONS)
    async with database.read_session() as session:
        assert (await session.execute(text("SELECT account FROM entries"))).scalars().all() == ["a"]
    await database.close()


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
async def test_a_failed_migration_changes_nothing(database_url: str, tmp_path: Path) -> None:
    await upgrade(database_url, MIGRATIONS)
    broken = tmp_path / "broken"
    shutil.copytree(MIGRATIONS, broken, ignore=shutil.ignore_patterns("__pycache__"))
    (broken / "versions/0003_broken.py").write_text(BROKEN)
    with pytest.raises(Exception, match="nonsense"):
        await upgrade(database_url, broken)
    assert await differences(database_url, metadata) == []
    assert not await upgrade(database_url, MIGRATIONS)


async def test_a_migration_that_broke_off_is_done_again(database_url: str, tmp_path: Path) -> None:
    """Also where every change of a table commits at once, and half of the changes are there already."""
    await upgrade(database_url, MIGRATIONS)
    broken = tmp_path / "broken"
    shutil.copytree(MIGRATIONS, broken, ignore=shutil.ignore_patterns("__pycache__"))
    version = broken / "versions/0003_more.py"
    version.write_text(MORE + '    op.execute("SELECT nonsense")\n')
    with pytest.raises(Exception, match="nonsense"):
        await upgrade(database_url, broken)
    version.write_text(MORE)
    assert await upgrade(database_url, broken)
    assert not await upgrade(database_url, broken)
    assert await downgrade(database_url, broken, "0002")
    assert await differences(database_url, metadata) == []


async def test_a_database_from_the_future_is_refused(database_url: str) -> None:
    await upgrade(database_url, MIGRATIONS)
    database = Database(database_url)
    async with database.write_session() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '0999'"))
        await session.commit()
    await database.close()
    with pytest.raises(MigrationError, match="does not fit"):
        await upgrade(database_url, MIGRATIONS)


async def test_downgrading_to_a_revision(database_url: str) -> None:
    await upgrade(database_url, MIGRATIONS)
    assert await downgrade(database_url, MIGRATIONS, "0001")
    assert await downgrade(database_url, MIGRATIONS, "0001") is False
    assert await differences(database_url, metadata) != []


def test_the_check_at_start_loads_neither_alembic_nor_sqlalchemy(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'new' / 'test.db'}"
    assert migrate(url, MIGRATIONS)
    assert not migrate(url, MIGRATIONS)
    program = (
        "import sys, pathlib; from services.kit.migrations import migrate; "
        "changed = migrate(sys.argv[1], pathlib.Path(sys.argv[2])); "
        "print(changed, 'alembic' in sys.modules, 'sqlalchemy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, url, MIGRATIONS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]


def test_a_new_database_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "test.db"
    migrate(f"sqlite+aiosqlite:///{path}", MIGRATIONS)
    assert path.stat().st_mode & 0o777 == 0o600


def test_version_files_keep_the_rules(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    with pytest.raises(MigrationError, match="no version files"):
        migrate(url, tmp_path)
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions/first.py").touch()
    with pytest.raises(MigrationError, match="NNNN_what"):
        migrate(url, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite:///",
        "sqlite:///a.db",
        "mysql://x/y",
        "mysql+aiomysql://x/y?a=b",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"SQLite URL|unknown database|MariaDB URL"):
        DatabaseUrl(url)
