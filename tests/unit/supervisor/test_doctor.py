"""What doctor finds, and what it advises."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from services.kit.ports_plan import PortPlan
from supervisor import doctor
from supervisor.datadir import DataDir
from supervisor.doctor import Finding, Mark
from supervisor.keys import ensure_keys
from supervisor.settings import SupervisorSettings


@pytest.fixture
def settings(tmp_path: Path) -> SupervisorSettings:
    data = DataDir(tmp_path / "data")
    data.prepare()
    ensure_keys(data.keys)
    return SupervisorSettings(data, PortPlan(), "http://127.0.0.1:1", "", {})


def only(findings: Iterator[Finding], mark: Mark) -> Finding:
    (finding,) = [finding for finding in findings if finding.mark is mark]
    return finding


def test_a_fresh_directory_is_well(settings: SupervisorSettings) -> None:
    for check in (doctor.check_data_dir, doctor.check_keys, doctor.check_databases, doctor.check_python):
        assert {finding.mark for finding in check(settings)} == {Mark.OK}


def test_a_key_that_others_may_read_is_a_failure_with_its_remedy(settings: SupervisorSettings) -> None:
    key = settings.data.keys / "mesh.pem"
    key.chmod(0o644)
    finding = only(doctor.check_keys(settings), Mark.FAIL)
    assert "mesh.pem" in finding.detail
    assert finding.remedy == f"chmod 600 {key}"


def test_a_key_set_of_another_key_is_a_failure(settings: SupervisorSettings) -> None:
    keys = settings.data.keys
    (keys / "user-jwks.json").write_bytes((keys / "mesh-jwks.json").read_bytes())
    assert "does not hold the public half" in only(doctor.check_keys(settings), Mark.FAIL).detail


def test_a_damaged_key_is_a_failure(settings: SupervisorSettings) -> None:
    (settings.data.keys / "mesh.pem").write_text("oops")
    assert "damaged" in only(doctor.check_keys(settings), Mark.FAIL).detail


def test_a_missing_key_is_made_by_the_next_start(settings: SupervisorSettings) -> None:
    (settings.data.keys / "envelope.key").unlink()
    assert only(doctor.check_keys(settings), Mark.WARN).detail == "envelope.key missing"


def test_an_open_data_directory_is_a_warning(settings: SupervisorSettings) -> None:
    settings.data.root.chmod(0o755)
    assert "chmod 700" in only(doctor.check_data_dir(settings), Mark.WARN).remedy


def test_packages_are_compared_with_the_lock(settings: SupervisorSettings, tmp_path: Path) -> None:
    lock = tmp_path / "run.txt"
    lock.write_text("pytest==0.0.1 \\\n    --hash=sha256:00\nno-such-package-here==1.0 \\\n")
    detail = only(doctor.check_packages(settings, lock), Mark.FAIL).detail
    assert "pytest is " in detail
    assert "no-such-package-here is missing" in detail
    assert only(doctor.check_packages(settings, tmp_path / "none.txt"), Mark.FAIL).detail == "none.txt is missing"


def test_a_damaged_database_is_a_failure(settings: SupervisorSettings) -> None:
    good, bad = settings.data.db / "user.sqlite3", settings.data.db / "recognition.sqlite3"
    with closing(sqlite3.connect(good)) as connection:
        connection.execute("CREATE TABLE t (x)")
    bad.write_bytes(b"this is no database, and it is long enough to be sure of that" * 100)
    findings = {finding.detail.split(":")[0]: finding.mark for finding in doctor.check_databases(settings)}
    assert findings == {"user.sqlite3": Mark.OK, "recognition.sqlite3": Mark.FAIL}


def test_a_database_server_that_does_not_answer_is_a_failure(settings: SupervisorSettings) -> None:
    url = "postgresql+asyncpg://candela:secret@127.0.0.1:1/user"
    elsewhere = SupervisorSettings(settings.data, settings.ports, "", "", {"CANDELA_USER_DATABASE_URL": url})
    finding = only(doctor.check_databases(elsewhere), Mark.FAIL)
    assert "CANDELA_USER_DATABASE_URL" in finding.detail
    assert "secret" not in finding.detail


def test_a_database_of_a_newer_version_is_a_failure(settings: SupervisorSettings) -> None:
    settings.data.prepare()
    for service, number in (("user", "9999"), ("recognition", "0001"), ("somebody-else", "9999")):
        with closing(sqlite3.connect(settings.data.db / f"{service}.sqlite3")) as connection, connection:
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
            connection.execute("INSERT INTO alembic_version VALUES (?)", (number,))
    [finding] = doctor.check_schemas(settings)
    assert finding.mark is Mark.FAIL
    assert finding.detail.startswith("user is newer (9999)")


def test_the_last_backup_and_what_was_moved_aside_are_told(settings: SupervisorSettings) -> None:
    settings.data.prepare()
    assert "make backup" in only(doctor.check_backups(settings), Mark.OK).detail
    folder = settings.data.root.with_name(f"{settings.data.root.name}-backups")
    folder.mkdir()
    (folder / "a.tar").touch()
    assert "0.0 h old" in only(doctor.check_backups(settings), Mark.OK).detail
    aside = settings.data.root.with_name(f"{settings.data.root.name}.before-reset-x")
    aside.mkdir()
    [_, finding] = doctor.check_backups(settings)
    assert finding.mark is Mark.WARN
    assert str(aside) in finding.remedy
