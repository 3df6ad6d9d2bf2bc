"""The commands of the process: `migrate`, `verify-audit` and `make-admin`."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from services.kit.database import Database
from services.user.settings import UserSettings
from tests.unit.user.world import new_world

_ROOT = Path(__file__).parents[3]


def _command(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.user.main", *arguments],
        cwd=_ROOT,
        env=os.environ | {"CANDELA_DATA_DIR": str(data), "PYTHONPATH": ".:clients/python/src"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_migrate_makes_the_database_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    for _ in range(2):
        done = _command(tmp_path, "migrate")
        assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / "db" / "user.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"users", "sessions", "refresh_tokens", "audit_entries", "request_claims"} <= tables
    assert path.stat().st_mode & 0o077 == 0


async def test_verify_audit_says_whether_the_chain_holds(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    database = Database(UserSettings(data_dir=tmp_path).database_url)
    world = await new_world(database)
    empty = _command(tmp_path, "verify-audit")
    assert (empty.returncode, empty.stdout) == (0, "the audit log is empty\n")
    for _ in range(3):
        await world.register()
    whole = _command(tmp_path, "verify-audit")
    assert (whole.returncode, whole.stdout) == (0, "tenant default: 3 entries, the chain holds\n")
    with closing(sqlite3.connect(tmp_path / "db" / "user.sqlite3")) as connection:
        connection.execute("DELETE FROM audit_entries WHERE seq = 2")
        connection.commit()
    broken = _command(tmp_path, "verify-audit")
    assert broken.returncode == 1
    assert broken.stdout == "tenant default: BROKEN at entry 2: entry 2 is missing (found 3)\n"
    world.close()
    await database.close()


async def test_make_admin_works_without_the_mesh(tmp_path: Path) -> None:
    nowhere = _command(tmp_path, "make-admin", "ada@example.com")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert "make run" in nowhere.stderr
    assert not (tmp_path / "db").exists()  # looking leaves nothing behind
    (tmp_path / "db").mkdir()
    database = Database(UserSettings(data_dir=tmp_path).database_url)
    world = await new_world(database)
    user = await world.register("ada@example.com", username="Ada")
    unknown = _command(tmp_path, "make-admin", "eve@example.com")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "register first" in unknown.stderr
    for who, says in (("ADA@example.com", "is an admin now; was FREE"), ("ada", "is an admin already")):
        done = _command(tmp_path, "make-admin", who)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"(users/{user.id}" in done.stdout
        assert says in done.stdout
    entry = (await world.audit())[-1]
    assert (entry.action, entry.actor, entry.method) == ("user.role_set", "system", "")
    async with world.units.read() as tx:
        revoked = await tx.revocations.since(world.clock.now())
    assert [one.id for one in revoked] == [user.id]  # for Redis, as soon as the mesh runs
    assert _command(tmp_path, "verify-audit").stdout == "tenant default: 2 entries, the chain holds\n"
    world.close()
    await database.close()


def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    done = _command(tmp_path, "nonsense")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m services.user.main")


def test_a_missing_key_is_one_clear_line(tmp_path: Path) -> None:
    done = _command(tmp_path, CANDELA_METRICS_PORT="0", CANDELA_OTLP_ENDPOINT="off")
    assert done.returncode == 1
    assert "cannot read" in done.stderr
    assert "Traceback" not in done.stderr
