"""What MariaDB would do differently and must not, on a server that is set up badly; and nothing of it elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Column, Float, Integer, LargeBinary, String, Table, Text, insert, select, text, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

import services
from services.kit.database import Database
from services.kit.database_errors import unique_violation
from services.kit.database_url import DatabaseUrl
from services.kit.statements import insert_if_absent, insert_or_raise
from services.kit.types import Digest, UtcDateTime, new_metadata

metadata = new_metadata()
THINGS = Table(
    "things",
    metadata,
    Column("digest", Digest, primary_key=True),
    Column("name", String(8), nullable=True, unique=True),
    Column("number", Integer, nullable=True),
    Column("weight", Float, nullable=True),
    Column("words", Text, nullable=True),
    Column("data", LargeBinary, nullable=True),
    Column("made_at", UtcDateTime, nullable=True),
)
ROOT = Path(services.__file__).parent
# What only one database understands. The kit's adapters are the place for it.
LEAKS = re.compile(
    r"dialects|on_conflict|on_duplicate|\.returning\(|dialect\.name|\b(?:sqlite|postgresql|mysql)_\w+=|ilike\(|\bop\.execute\("
)
ADAPTERS = {
    "database.py",
    "database_mariadb.py",
    "database_errors.py",
    "statements.py",
    "types.py",
    "env.py",
    "migrations_run.py",
}


@pytest.fixture
async def things(database: Database) -> Database:
    async with database.write_session() as session:
        await (await session.connection()).run_sync(metadata.create_all)
        await session.commit()
    return database


async def put(database: Database, **values: object) -> None:
    async with database.write_session() as session:
        await session.execute(insert(THINGS).values(**{"digest": b"d" * 32, **values}))
        await session.commit()


async def test_names_differ_by_case_accent_and_trailing_space(things: Database) -> None:
    names = ["ada", "Ada", "ada ", "ädа", "ada\t", "🦊"]
    for number, name in enumerate(names):
        await put(things, digest=bytes([number]) * 32, name=name)
    async with things.read_session() as session:
        for name in names:
            found = (await session.execute(select(THINGS.c.name).where(THINGS.c.name == name))).scalars().all()
            assert found == [name]
        ordered = (await session.execute(select(THINGS.c.name).order_by(THINGS.c.name))).scalars().all()
    assert ordered == sorted(names)


async def test_numbers_texts_and_bytes_come_back_whole(things: Database) -> None:
    words, data = "漢🦊" * 50_000, bytes(range(256)) * 20_000
    await put(things, weight=0.1234567890123456, words=words, data=data)
    async with things.read_session() as session:
        row = (await session.execute(select(THINGS))).one()
    assert (row.weight, row.words, row.data, row.digest) == (0.1234567890123456, words, data, b"d" * 32)


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
async def test_what_does_not_fit_is_an_error(things: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        await put(things, name="nine chars")
    assert isinstance(caught.value, DataError) or "too long" in str(caught.value)


async def test_a_collision_names_the_columns_of_any_key(things: Database) -> None:
    await put(things, name="one")
    for values, columns in (({}, ("digest",)), ({"digest": b"e" * 32, "name": "one"}, ("name",))):
        with pytest.raises(IntegrityError) as caught:
            await put(things, **values)
        assert unique_violation(caught.value) == columns
    await put(things, digest=b"e" * 32, name="two")
    async with things.write_session() as session:
        with pytest.raises(IntegrityError) as caught:
            await session.execute(update(THINGS).where(THINGS.c.digest == b"e" * 32).values(name="one"))
        assert unique_violation(caught.value) == ("name",)


async def test_inserting_what_may_be_there(things: Database) -> None:
    async with things.write_session() as session:
        for number in (5, 3, 9):
            rows: list[dict[str, object]] = [
                {"digest": b"a" * 32, "number": number},
                {"digest": b"b" * 32, "number": 1},
            ]
            await insert_or_raise(session, THINGS, rows, ["digest"], "number")
        await insert_if_absent(session, THINGS, {"digest": b"a" * 32, "number": 100})
        await insert_if_absent(session, THINGS, {"digest": b"c" * 32, "number": 7})
        found = (await session.execute(select(THINGS.c.number).order_by(THINGS.c.digest))).scalars().all()
        assert found == [9, 1, 7]
        with pytest.raises(DBAPIError):  # what is wrong with a row is never passed over
            await insert_if_absent(session, THINGS, {"digest": None, "number": 7})


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
async def test_a_session_has_its_own_settings_whatever_the_servers_are(database: Database) -> None:
    settings = ("time_zone", "collation_connection", "max_statement_time", "tx_isolation", "idle_transaction_timeout")
    async with database.write_session() as session:
        row = (await session.execute(text("SELECT " + ", ".join(f"@@{name}" for name in settings)))).one()
    assert tuple(map(str, row)) == ("+00:00", "utf8mb4_nopad_bin", "30.0", "READ-COMMITTED", "30")
    async with database.write_session() as session:
        again = (await session.execute(text("SELECT @@tx_isolation"))).scalar_one()
    assert again == "READ-COMMITTED"


def test_a_url_of_mariadb_says_how_to_connect() -> None:
    url = DatabaseUrl("mysql+aiomysql://ada:p%40ss@db.example:3307/candela?unix_socket=/run/s")
    assert url.mariadb_arguments == {
        "host": "db.example", "port": 3307, "user": "ada", "password": "p@ss", "database": "candela",
        "charset": "utf8mb4", "unix_socket": "/run/s",
    }  # fmt: skip


def test_no_feature_of_one_database_stands_outside_an_adapter() -> None:
    leaks = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted(ROOT.rglob("*.py"))
        if path.name not in ADAPTERS
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if LEAKS.search(line.partition("#")[0])
    ]
    assert leaks == []


def test_a_service_on_sqlite_carries_no_driver_of_another_database(tmp_path: Path) -> None:
    others = ("aiomysql", "pymysql", "asyncpg", "sqlalchemy.dialects.mysql.base")
    program = f"""
import asyncio, sys
import services.recognition.main.compose, services.user.main.compose
from services.kit.database import Database
asyncio.run(Database(sys.argv[1]).ping())
print([name for name in {others} if name in sys.modules])
"""
    url = f"sqlite+aiosqlite:///{tmp_path / 'a.db'}"
    done = subprocess.run(
        [sys.executable, "-c", program, url], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    assert done.stdout.strip() == "[]"
