"""Databases that are servers of their own: dumped where PostgreSQL's tool is at hand, and otherwise told about."""

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.kit.database_url import DatabaseKind, DatabaseUrl
from services.kit.shard_map import ShardMap
from supervisor.backup.manifest import ArchiveError
from supervisor.settings import SupervisorSettings

_PREFIX, _SUFFIX, _SHARDS = "CANDELA_", "_database_url", "_shards"
_LIMIT_SECONDS = 3600.0


def elsewhere(settings: SupervisorSettings) -> dict[str, DatabaseUrl]:
    """Return the databases that are not files in the data directory, by service. ValueError for a wrong URL."""
    urls: dict[str, DatabaseUrl] = {}
    for name, text in settings.inherited.items():
        service = name.removeprefix(_PREFIX).lower()
        if service.endswith(_SUFFIX) and text:
            urls[service.removesuffix(_SUFFIX)] = DatabaseUrl(text)
        elif service.endswith(_SHARDS):
            shards = ShardMap.parse(text).urls if text else {}
            urls |= {f"{service.removesuffix(_SHARDS)}-{shard}": DatabaseUrl(url) for shard, url in shards.items()}
    inside = settings.data.db.absolute()
    return {name: url for name, url in urls.items() if not (url.is_sqlite and url.path.absolute().parent == inside)}


def dump_servers(settings: SupervisorSettings, folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Dump what can be dumped; return the files by service, and a line about each database that is not in them.

    Raises ArchiveError when a dump fails: a backup that silently lacks a database would be worse than none.
    """
    dumps: dict[str, Path] = {}
    notes: list[str] = []
    program = shutil.which("pg_dump")
    try:
        databases = elsewhere(settings)
    except ValueError as error:
        raise ArchiveError(f"a database URL is wrong: {error}") from error
    for service, url in databases.items():
        if url.kind is DatabaseKind.POSTGRESQL and program:
            dumps[service] = _dump(program, url, folder / f"{service}.pgdump")
            notes.append(f"{service}: a dump by pg_dump, of a moment of its own; make restore tells how to load it")
        elif url.is_sqlite:
            notes.append(f"{service}: its database {url.path} is outside of the data directory")
        else:
            why = ", and pg_dump is not on PATH" if url.kind is DatabaseKind.POSTGRESQL else ""
            notes.append(f"{service}: its database is on a {url.kind.value} server, which needs its own backups{why}")
    return dumps, notes


def _dump(program: str, url: DatabaseUrl, target: Path) -> Path:
    """Run pg_dump. The password goes through the environment: command lines are everybody's to read."""
    parts = urlsplit(url.dsn)
    known = {"PGHOST": parts.hostname, "PGUSER": parts.username, "PGPASSWORD": parts.password}
    own = {name: unquote(value) for name, value in known.items() if value}
    if parts.port:
        own["PGPORT"] = str(parts.port)
    target.touch(mode=0o600)
    command = [program, "--format=custom", "--no-owner", f"--file={target}", unquote(parts.path.lstrip("/"))]
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | own
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ArchiveError(f"pg_dump did not end within {_LIMIT_SECONDS:.0f} s") from error
    if done.returncode != 0:
        raise ArchiveError(f"pg_dump of {parts.path.lstrip('/')}: {done.stderr.strip() or done.returncode}")
    return target
