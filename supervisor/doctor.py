"""`python -m supervisor doctor`: looks at this machine and the data directory, and says what to do about them."""

import asyncio
import importlib.metadata
import os
import re
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from services.kit.migrations import newest_revision
from supervisor.backup.create import backups_of
from supervisor.backup.restore import migrations_of
from supervisor.backup.snapshot import SnapshotError, revision_of
from supervisor.binaries import MissingProgramError, find
from supervisor.datadir import holder_of
from supervisor.keys import KEY_FILES, KEY_PAIRS, key_set_matches
from supervisor.ports import busy_message
from supervisor.settings import REPOSITORY, SupervisorSettings

if TYPE_CHECKING:
    from services.kit.database_url import DatabaseUrl

_MIN_PYTHON = (3, 11)
_LOCK = REPOSITORY / "requirements" / "run.txt"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_VERSION = re.compile(r"\b\d+\.\d+\.\d+\b")
_LOW_DISK, _NO_DISK = 2 * 1024**3, 200 * 1024**2
_CONNECT_SECONDS = 3.0
_REINSTALL = "rm -rf .venv; make run installs it again. Or install it with your package manager"


class Mark(Enum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


_COLOURS = {Mark.OK: "green", Mark.WARN: "yellow", Mark.FAIL: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer."""

    mark: Mark
    what: str
    detail: str
    remedy: str = ""


Check = Callable[[SupervisorSettings], Iterator[Finding]]


def doctor(settings: SupervisorSettings) -> int:
    """Print every finding; return 1 when one of them is a failure, otherwise 0."""
    console = Console(highlight=False, soft_wrap=True)
    worst = 0
    for check in CHECKS:
        for finding in check(settings):
            worst = max(worst, int(finding.mark is Mark.FAIL))
            mark = (f"{finding.mark.value:<5}", _COLOURS[finding.mark])
            console.print(Text.assemble(mark, f"{finding.what:<22} {finding.detail}"))
            if finding.remedy:
                console.print(Text.assemble(" " * 28, ("→ " + finding.remedy, "cyan")))
    return worst


def check_python(_: SupervisorSettings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _MIN_PYTHON:
        yield Finding(Mark.OK, "Python", version)
    else:
        yield Finding(
            Mark.FAIL, "Python", f"{version} is too old", "install Python 3.11 or newer, then: rm -rf .venv; make run"
        )


def check_packages(_: SupervisorSettings, lock: Path = _LOCK) -> Iterator[Finding]:
    """Compare what is installed with the lock file."""
    try:
        pinned = _PINNED.findall(lock.read_text())
    except OSError:
        yield Finding(Mark.FAIL, "packages", f"{lock.name} is missing", "restore requirements/ from the repository")
        return
    wrong = []
    for name, version in pinned:
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if installed != version:
            wrong.append(f"{name} is {installed}, not {version}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        yield Finding(Mark.FAIL, "packages", ", ".join(wrong[:3]) + more, "rm -rf .venv; make run installs it again")
    else:
        yield Finding(Mark.OK, "packages", f"all {len(pinned)} as locked")


def check_programs(_: SupervisorSettings) -> Iterator[Finding]:
    """Run each program for its version: a wheel for another processor is there and does not start."""
    for program, mark in (("envoy", Mark.FAIL), ("redis-server", Mark.FAIL), ("buf", Mark.FAIL), ("curl", Mark.WARN)):
        try:
            path = find(program)
            answer = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=20, check=True)
        except MissingProgramError:
            yield Finding(mark, program, "not found", _REINSTALL)
        except (OSError, subprocess.SubprocessError) as error:
            yield Finding(mark, program, f"does not run: {error}", _REINSTALL)
        else:
            version = _VERSION.search(answer.stdout + answer.stderr)
            yield Finding(Mark.OK, program, f"{version[0] if version else 'runs'}  {path}")


def check_ports(settings: SupervisorSettings) -> Iterator[Finding]:
    holder = holder_of(settings.data)
    if holder is not None:
        yield Finding(Mark.OK, "ports", f"in use by the mesh that runs (supervisor pid {holder})")
    elif busy := busy_message(settings.ports, settings.ports.all()):
        yield Finding(Mark.FAIL, "ports", *busy.split(". ", 1))
    else:
        yield Finding(Mark.OK, "ports", f"all free, edge on {settings.ports.edge}")


def check_data_dir(settings: SupervisorSettings) -> Iterator[Finding]:
    root = settings.data.root
    if not root.exists():
        yield Finding(Mark.OK, "data directory", f"{root} will be made by the first start")
        return
    mode = stat.S_IMODE(root.stat().st_mode)
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(Mark.FAIL, "data directory", f"{root} is not writable", f"chown -R {os.getuid()} {root}")
    elif mode & 0o077:
        yield Finding(Mark.WARN, "data directory", f"{root} is open to others (mode {mode:03o})", f"chmod 700 {root}")
    else:
        yield Finding(Mark.OK, "data directory", str(root))


def check_disk(settings: SupervisorSettings) -> Iterator[Finding]:
    free = settings.data.free_bytes()
    text = f"{free / 1024**3:.1f} GiB free"
    if free < _NO_DISK:
        yield Finding(Mark.FAIL, "disk", text, "free some space, or move the data with CANDELA_DATA_DIR")
    elif free < _LOW_DISK:
        yield Finding(Mark.WARN, "disk", text, "free some space before documents and logs fill it")
    else:
        yield Finding(Mark.OK, "disk", text)


def check_keys(settings: SupervisorSettings) -> Iterator[Finding]:
    directory = settings.data.keys
    if not directory.exists():
        yield Finding(Mark.OK, "keys", "will be made by the first start")
        return
    missing = [name for name in KEY_FILES if not (directory / name).exists()]
    if missing:
        yield Finding(Mark.WARN, "keys", f"{', '.join(missing)} missing", "the next start makes them")
    open_files = [name for name in KEY_FILES if name not in missing and _is_open(directory / name)]
    if open_files:
        files = " ".join(str(directory / name) for name in open_files)
        yield Finding(Mark.FAIL, "keys", f"others may read {', '.join(open_files)}", f"chmod 600 {files}")
    for private, public in KEY_PAIRS:
        if private in missing or public in missing:
            continue
        try:
            matches = key_set_matches(directory / private, directory / public)
        except (OSError, ValueError) as error:
            yield Finding(Mark.FAIL, "keys", f"{private} or {public} is damaged: {error}", "restore it from a backup")
            continue
        if not matches:
            remedy = f"remove {public}; the next start derives it again"
            yield Finding(Mark.FAIL, "keys", f"{public} does not hold the public half of {private}", remedy)
    if not missing and not open_files:
        yield Finding(Mark.OK, "keys", f"{len(KEY_FILES)} files, private to their owner")


def check_databases(settings: SupervisorSettings) -> Iterator[Finding]:
    """Open every SQLite file, and knock at the database servers that the settings name."""
    files = sorted(settings.data.db.glob("*.sqlite3")) if settings.data.db.exists() else []
    for file in files:
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=2.0)) as connection:
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            answer = str(error)
        mark = Mark.OK if answer == "ok" else Mark.FAIL
        yield Finding(mark, "database", f"{file.name}: {answer}", "" if mark is Mark.OK else "restore it from a backup")
    try:
        servers = [(name, url) for name, url in _database_urls(settings) if not url.startswith("sqlite")]
    except ValueError as error:
        yield Finding(Mark.FAIL, "database", f"the list of shards is wrong: {error}", "see docs/databases.md")
        return
    yield from (_log_in(name, url) for name, url in servers)
    if not files and not servers:
        yield Finding(Mark.OK, "databases", "will be made by the first start")


def check_schemas(settings: SupervisorSettings) -> Iterator[Finding]:
    """Say which databases are newer than this version of Candela. Older ones are migrated by the next start."""
    for file in sorted(settings.data.db.glob("*.sqlite3")) if settings.data.db.exists() else []:
        folder = migrations_of(file.stem)
        try:
            number = revision_of(file)
        except SnapshotError:
            continue  # check_databases says it
        if folder is not None and number is not None and number > (newest := newest_revision(folder)):
            remedy = "run the newer version of Candela that made it, or restore an older backup"
            yield Finding(Mark.FAIL, "schema", f"{file.stem} is newer ({number}) than this version ({newest})", remedy)


def check_backups(settings: SupervisorSettings) -> Iterator[Finding]:
    """Tell how old the last backup in its usual place is, and what restores and resets left beside the data."""
    data = settings.data
    if not data.db.exists():
        return
    archives = [path.stat().st_mtime for path in backups_of(data).glob("*.tar")]
    if archives:
        yield Finding(Mark.OK, "backup", f"the last one is {(time.time() - max(archives)) / 3600:.1f} h old")
    else:
        yield Finding(Mark.OK, "backup", f"none in {backups_of(data)}: make backup writes one")
    for kind in ("before-restore", "before-reset", "restoring"):
        for folder in sorted(data.root.parent.glob(f"{data.root.name}.{kind}-*")):
            yield Finding(Mark.WARN, "old data", f"{folder} still holds data", f"rm -r {folder}, once you are sure")


def _database_urls(settings: SupervisorSettings) -> Iterator[tuple[str, str]]:
    """Yield every database that the settings name, replicas and shards among them; ValueError for a wrong list."""
    from services.kit.shard_map import ShardMap  # noqa: PLC0415 — only this check needs it

    for name, value in settings.inherited.items():
        if name.endswith(("_DATABASE_URL", "_REPLICA_URL")) and value:
            yield name, value
        elif name.endswith("_SHARDS") and value:
            yield from ((f"{name} {shard}", url) for shard, url in ShardMap.parse(value).urls.items())


def _log_in(name: str, url: str) -> Finding:
    """Open a connection with the user and the password that the URL has."""
    from services.kit.database_url import DatabaseKind, DatabaseUrl  # noqa: PLC0415 — only this check needs it

    try:
        parsed = DatabaseUrl(url)
        ask = _mariadb_version if parsed.kind is DatabaseKind.MARIADB else _postgres_version
        found = ask(parsed)
    except (OSError, ValueError, _NoAnswerError) as error:
        why = str(error) or type(error).__name__
        return Finding(Mark.FAIL, "database", f"{name}: {why}", "start the server, or correct the URL")
    return Finding(Mark.OK, "database", f"{name}: {found} answers")


class _NoAnswerError(Exception):
    """What a driver said instead."""


# The drivers are imported where they are used: 30 MB that only this check needs.


def _postgres_version(url: "DatabaseUrl") -> str:
    import asyncpg  # noqa: PLC0415 — see above

    async def version() -> str:
        connection = await asyncpg.connect(url.dsn, timeout=_CONNECT_SECONDS)
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    try:
        return f"PostgreSQL {asyncio.run(version())}"
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _NoAnswerError(str(error)) from error


def _mariadb_version(url: "DatabaseUrl") -> str:
    import pymysql  # noqa: PLC0415 — see above

    try:
        connected = pymysql.connect(connect_timeout=int(_CONNECT_SECONDS), **url.mariadb_arguments)
        with closing(connected) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            row = cursor.fetchone()
    except pymysql.MySQLError as error:
        raise _NoAnswerError(str(error)) from error
    version = str(row[0]) if row else ""
    return f"MariaDB {version.partition('-')[0]}" if "MariaDB" in version else f"MySQL {version}"


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


CHECKS: tuple[Check, ...] = (
    check_python, check_packages, check_programs, check_ports, check_data_dir, check_disk, check_keys, check_databases,
    check_schemas, check_backups,
)  # fmt: skip
