"""Backup, restore and reset of small data directories, without a mesh."""

import io
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from services.kit.migrations import migrate, newest_revision
from supervisor.backup import create, restore
from supervisor.backup.archive import check
from supervisor.backup.reset import reset
from supervisor.backup.snapshot import revision_of
from supervisor.datadir import DataDir, DataDirLock
from supervisor.keys import ensure_keys
from supervisor.settings import SupervisorSettings
from tests.support.eventually import eventually_sync

_OBJECT = "objects/default/01h/files/a.png"


def settings_of(root: Path, **environment: str) -> SupervisorSettings:
    return SupervisorSettings.read({"CANDELA_DATA_DIR": str(root), "PATH": os.environ["PATH"], **environment})


@pytest.fixture
def settings(tmp_path: Path) -> SupervisorSettings:
    """A data directory with keys, two databases, an object and a Redis log."""
    found = settings_of(tmp_path / "data")
    data = found.data
    data.prepare()
    ensure_keys(data.keys)
    for service in ("user", "recognition"):
        folder = restore.migrations_of(service)
        assert folder is not None
        migrate(f"sqlite+aiosqlite:///{data.db / f'{service}.sqlite3'}", folder)
    (data.root / _OBJECT).parent.mkdir(parents=True)
    (data.root / _OBJECT).write_bytes(b"a picture")
    (data.redis / "appendonly.aof").write_bytes(b"*1\r\n$4\r\nPING\r\n")
    return found


def contents(root: Path) -> dict[str, bytes]:
    """Return every file of the rooms that a backup is of, except SQLite's, by its path."""
    rooms = [path for room in ("keys", "objects", "redis") for path in (root / room).rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in rooms}


def backed_up(settings: SupervisorSettings) -> Path:
    target = settings.data.root.parent / "backup.tar"
    assert create.backup(settings, str(target), io.StringIO()) == 0
    return target


def add_table(settings: SupervisorSettings, name: str, service: str = "user") -> None:
    with closing(sqlite3.connect(settings.data.db / f"{service}.sqlite3")) as connection:
        connection.execute(f"CREATE TABLE {name} (n INTEGER)")


def tables(settings: SupervisorSettings, service: str = "user") -> set[str]:
    with closing(sqlite3.connect(settings.data.db / f"{service}.sqlite3")) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_what_was_destroyed_comes_back(settings: SupervisorSettings) -> None:
    add_table(settings, "before")
    kept = contents(settings.data.root)
    archive = backed_up(settings)
    assert archive.stat().st_mode & 0o777 == 0o600
    add_table(settings, "after")
    shutil.rmtree(settings.data.root)
    out = io.StringIO()
    assert restore.restore(settings, str(archive), out=out) == 0
    assert contents(settings.data.root) == kept
    assert "before" in tables(settings)
    assert "after" not in tables(settings)
    assert "RTO" in out.getvalue()
    assert "RPO" in out.getvalue()
    assert settings.data.root.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in settings.data.root.parent.iterdir()) == ["backup.tar", "data"]


def test_a_backup_is_never_overwritten(settings: SupervisorSettings, capsys: pytest.CaptureFixture[str]) -> None:
    archive = backed_up(settings)
    before = archive.read_bytes()
    assert create.backup(settings, str(archive)) == 1
    assert "never overwritten" in capsys.readouterr().err
    assert archive.read_bytes() == before


def test_the_default_place_is_beside_the_data_and_private(settings: SupervisorSettings) -> None:
    assert create.backup(settings, out=io.StringIO()) == 0
    [archive] = create.backups_of(settings.data).iterdir()
    assert check(archive).schemas["user"]
    assert archive.parent.stat().st_mode & 0o777 == 0o700


def test_a_backup_that_fails_leaves_nothing(settings: SupervisorSettings, capsys: pytest.CaptureFixture[str]) -> None:
    (settings.data.db / "user.sqlite3").write_bytes(b"no database at all" * 1000)
    folder = settings.data.root.parent / "backups"
    assert create.backup(settings, str(folder / "a.tar")) == 1
    assert "user.sqlite3" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_passwords_are_not_in_the_manifest(settings: SupervisorSettings, tmp_path: Path) -> None:
    telling = settings_of(
        settings.data.root, CANDELA_REDIS_URL="redis://:hunter2@127.0.0.1:1/0", CANDELA_LOG_LEVEL="ERROR"
    )
    out = io.StringIO()
    assert create.backup(telling, str(tmp_path / "a.tar"), out) == 0
    manifest = check(tmp_path / "a.tar")
    assert manifest.settings["CANDELA_LOG_LEVEL"] == "ERROR"
    assert b"hunter2" not in manifest.to_json()
    assert "not in it: Redis" in out.getvalue()


def test_databases_elsewhere_are_told_about(settings: SupervisorSettings, tmp_path: Path) -> None:
    urls = {
        "CANDELA_USER_DATABASE_URL": "mysql+aiomysql://me:hunter2@127.0.0.1/candela",
        "CANDELA_RECOGNITION_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/elsewhere.sqlite3",
        "CANDELA_OBJECTS_URL": "s3://bucket/prefix",
        "CANDELA_CHAT_SHARDS": "a 0-2047 mysql+aiomysql://me:hunter2@h/a; b 2048-4095 mysql+aiomysql://me:hunter2@h/b",
    }
    out = io.StringIO()
    assert create.backup(settings_of(settings.data.root, **urls), str(tmp_path / "a.tar"), out) == 0
    told = [line for line in out.getvalue().splitlines() if "not in it" in line]
    assert [line.split()[3].rstrip(":") for line in told] == ["user", "recognition", "chat-a", "chat-b", "stored"]
    assert "hunter2" not in out.getvalue()
    assert b"hunter2" not in check(tmp_path / "a.tar").to_json()


def test_objects_that_rows_name_and_nobody_has_are_told(settings: SupervisorSettings, tmp_path: Path) -> None:
    with closing(sqlite3.connect(settings.data.db / "user.sqlite3")) as connection, connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        columns = [row[1] for row in connection.execute("PRAGMA table_info(file_pieces)")]
        for name in (_OBJECT, "objects/default/01h/files/gone.png"):
            values = [name.removeprefix("objects/") if column == "object" else len(name) for column in columns]
            marks = ", ".join("?" * len(columns))
            connection.execute(f"INSERT INTO file_pieces VALUES ({marks})", values)  # noqa: S608 - question marks
    out = io.StringIO()
    assert create.backup(settings, str(tmp_path / "a.tar"), out) == 0
    assert "that are not stored: default/01h/files/gone.png\n" in out.getvalue()


def test_all_databases_are_of_one_moment(settings: SupervisorSettings, tmp_path: Path) -> None:
    """A writer puts a number into the first database and then into the second: the second is never ahead."""
    for service in ("recognition", "user"):
        add_table(settings, "numbers", service)
    stop, written = threading.Event(), [0]

    def write() -> None:
        with _opened(settings, "recognition") as first, _opened(settings, "user") as second:
            while not stop.is_set():
                written[0] += 1
                for connection in (first, second):
                    connection.execute("INSERT INTO numbers VALUES (?)", (written[0],))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        archives = [tmp_path / f"{number}.tar" for number in range(8)]
        for archive in archives:
            wait_for(written, written[0] + 3)
            assert create.backup(settings, str(archive), io.StringIO()) == 0
    finally:
        stop.set()
        thread.join()
    for archive in archives:
        there = settings_of(tmp_path / archive.stem)
        assert restore.restore(there, str(archive), out=io.StringIO()) == 0
        first, second = (_highest(there, service) for service in ("recognition", "user"))
        assert 0 <= first - second <= 1


def wait_for(written: list[int], number: int) -> None:
    eventually_sync(lambda: written[0] >= number, timeout=20)


@contextmanager
def _opened(settings: SupervisorSettings, service: str) -> Iterator[sqlite3.Connection]:
    file = settings.data.db / f"{service}.sqlite3"
    with closing(sqlite3.connect(file, isolation_level=None, timeout=20)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        yield connection


def _highest(settings: SupervisorSettings, service: str) -> int:
    with _opened(settings, service) as connection:
        found: int = connection.execute("SELECT max(n) FROM numbers").fetchone()[0]
    return found


class TestRefusals:
    """Restore leaves everything as it was."""

    def refused(self, settings: SupervisorSettings, archive: Path, *, force: bool = False) -> None:
        parent = settings.data.root.parent
        before = sorted(path.name for path in parent.iterdir())
        kept = contents(settings.data.root)
        assert restore.restore(settings, str(archive), force=force) == 1
        assert sorted(path.name for path in parent.iterdir()) == before
        assert contents(settings.data.root) == kept

    def test_over_data_that_are_there(self, settings: SupervisorSettings, capsys: pytest.CaptureFixture[str]) -> None:
        self.refused(settings, backed_up(settings))
        assert "FORCE=1" in capsys.readouterr().err

    @pytest.mark.parametrize("force", [False, True])
    def test_while_a_mesh_runs(
        self, settings: SupervisorSettings, capsys: pytest.CaptureFixture[str], force: bool
    ) -> None:
        archive = backed_up(settings)
        with DataDirLock(settings.data):
            self.refused(settings, archive, force=force)
        assert f"supervisor pid {os.getpid()}" in capsys.readouterr().err

    def test_a_damaged_archive(self, settings: SupervisorSettings) -> None:
        archive = backed_up(settings)
        archive.write_bytes(archive.read_bytes()[:-2000])
        self.refused(settings, archive, force=True)

    def test_an_archive_that_is_not_there(
        self, settings: SupervisorSettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.refused(settings, settings.data.root.parent / "nothing.tar", force=True)
        assert "No such file" in capsys.readouterr().err

    def test_a_newer_database(self, settings: SupervisorSettings, capsys: pytest.CaptureFixture[str]) -> None:
        with _opened(settings, "user") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        archive = backed_up(settings)
        self.refused(settings, archive, force=True)
        assert "is newer" in capsys.readouterr().err

    def test_a_full_disk(
        self, settings: SupervisorSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive = backed_up(settings)
        monkeypatch.setattr(DataDir, "free_bytes", lambda _: 1000)
        self.refused(settings, archive, force=True)
        assert "MiB are free" in capsys.readouterr().err

    def test_a_folder_that_cannot_be_moved_into_place(
        self, settings: SupervisorSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive, rename = backed_up(settings), Path.rename

        def fail(path: Path, target: Path) -> Path:
            if ".restoring-" in path.name:
                raise OSError(16, "Device or resource busy", str(path))
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", fail)
        self.refused(settings, archive, force=True)


def test_force_moves_aside_and_deletes_nothing(settings: SupervisorSettings) -> None:
    archive = backed_up(settings)
    add_table(settings, "after")
    out = io.StringIO()
    assert restore.restore(settings, str(archive), force=True, out=out) == 0
    assert "after" not in tables(settings)
    [aside] = settings.data.root.parent.glob("data.before-restore-*")
    assert str(aside) in out.getvalue()
    assert "after" in tables(replace(settings, data=DataDir(aside)))


def test_an_older_database_is_brought_forward(settings: SupervisorSettings, tmp_path: Path) -> None:
    folder = restore.migrations_of("recognition")
    assert folder is not None
    file = settings.data.db / "recognition.sqlite3"
    file.unlink()
    old = tmp_path / "old" / "versions"
    old.mkdir(parents=True)
    first = min((folder / "versions").glob("0001_*.py"))
    shutil.copy(first, old)
    migrate(f"sqlite+aiosqlite:///{file}", old.parent)
    archive = backed_up(settings)
    assert check(archive).schemas["recognition"] == "0001"
    assert restore.restore(settings, str(archive), force=True, out=io.StringIO()) == 0
    assert revision_of(file) == newest_revision(folder) > "0001"


def test_keys_that_lie_elsewhere_are_put_there(settings: SupervisorSettings, tmp_path: Path) -> None:
    archive = backed_up(settings)
    kept = (settings.data.keys / "mesh.pem").read_bytes()
    there = settings_of(tmp_path / "other", CANDELA_KEYS_DIR=str(tmp_path / "secrets"))
    assert restore.restore(there, str(archive), out=io.StringIO()) == 0
    assert (tmp_path / "secrets" / "mesh.pem").read_bytes() == kept
    assert not (tmp_path / "other" / "keys").exists()


class TestReset:
    """Reset keeps a way back."""

    def test_a_yes_moves_the_directory_aside(self, settings: SupervisorSettings) -> None:
        kept, out = contents(settings.data.root), io.StringIO()
        assert reset(settings.data, ask=io.StringIO("yes\n"), out=out) == 0
        assert not settings.data.root.exists()
        [aside] = settings.data.root.parent.glob("data.before-reset-*")
        assert f"mv {aside} {settings.data.root}" in out.getvalue()
        assert contents(aside) == kept

    @pytest.mark.parametrize("answer", ["", "no\n", "y\n", "\n"])
    def test_anything_else_changes_nothing(self, settings: SupervisorSettings, answer: str) -> None:
        assert reset(settings.data, ask=io.StringIO(answer), out=io.StringIO()) == 1
        assert settings.data.keys.is_dir()

    def test_it_is_refused_while_a_mesh_runs(
        self, settings: SupervisorSettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with DataDirLock(settings.data):
            assert reset(settings.data, sure=True, out=io.StringIO()) == 1
        assert "already runs" in capsys.readouterr().err
        assert settings.data.keys.is_dir()

    def test_nothing_to_reset_is_no_error(self, tmp_path: Path) -> None:
        assert reset(DataDir(tmp_path / "nowhere"), sure=True, out=io.StringIO()) == 0
