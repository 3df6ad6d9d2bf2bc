"""`python -m supervisor backup`: one file with everything that cannot be made again, while the mesh runs."""

import contextlib
import os
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TextIO

from supervisor.backup.archive import ArchiveWriter, check
from supervisor.backup.files import local_objects, plain_files
from supervisor.backup.manifest import ArchiveError, Manifest
from supervisor.backup.servers import dump_servers
from supervisor.backup.snapshot import SnapshotError, copy, named_objects, one_moment, revision_of
from supervisor.datadir import DataDir
from supervisor.settings import REPOSITORY, SupervisorSettings

_PRIVATE_FILE, _PRIVATE_DIR = 0o600, 0o700
# Values of these are passwords, or hold one.
_SECRET = ("_URL", "_SHARDS", "_KEY", "_PASSWORD", "_SECRET", "_TOKEN", "_DSN")
_NAMED_AT_MOST = 5


def backups_of(data: DataDir) -> Path:
    """Return the folder beside a data directory where its backups go unless told otherwise."""
    return data.root.with_name(f"{data.root.name}-backups")


def backup(settings: SupervisorSettings, to: str = "", out: TextIO = sys.stdout) -> int:
    """Write a backup to a new file and read it back; return 0, or 1 when there is none. Never overwrites a file."""
    begun = time.monotonic()
    target = Path(to).expanduser().absolute() if to else _default_target(settings.data)
    try:
        manifest = _backup(settings, target)
    except (ArchiveError, SnapshotError, OSError, ValueError) as error:
        print(f"no backup was made: {text_of(error)}", file=sys.stderr)
        return 1
    _tell(manifest, target, time.monotonic() - begun, out)
    return 0


def _default_target(data: DataDir) -> Path:
    return backups_of(data) / f"candela-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"


def _backup(settings: SupervisorSettings, target: Path) -> Manifest:
    if not settings.data.db.is_dir():
        raise ArchiveError(f"{settings.data.root} is no data directory: nothing was started on it yet")
    if target.exists():
        raise ArchiveError(f"{target} exists already, and a backup is never overwritten: name another file with TO=")
    target.parent.mkdir(mode=_PRIVATE_DIR, parents=True, exist_ok=True)
    with _new_file(target) as (file, path):
        manifest = _write(settings, file, target.parent)
        file.flush()
        os.fsync(file.fileno())
        if check(path) != manifest:
            raise ArchiveError("the archive does not read back as it was written")
    return manifest


@contextmanager
def _new_file(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Give a file that appears under its name, whole and for good, when the block ends well, and otherwise never."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, partial
        os.link(partial, target)  # unlike a rename it does not replace what came there meanwhile
        _sync_folder(target.parent)
    finally:
        partial.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(settings: SupervisorSettings, file: BinaryIO, beside: Path) -> Manifest:
    """Databases first and objects after them, so that no row of the archive was written later than its object."""
    data, archive = settings.data, ArchiveWriter(file)
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=beside) as folder:
        databases, at = _copy_databases(data, Path(folder))
        schemas = {service: number for service, one in databases.items() if (number := revision_of(one))}
        named = {name for service, one in databases.items() for name in named_objects(service, one)}
        for service, one in databases.items():
            _add(archive, f"db/{service}.sqlite3", one)
        dumps, notes = dump_servers(settings, Path(folder))
        for service, one in dumps.items():
            _add(archive, f"db/{service}.pgdump", one)
    notes += _add_objects(settings, archive, named)
    for name, one in plain_files(data.keys):
        _add(archive, f"keys/{name}", one)
    notes += _add_redis(settings, archive)
    manifest = Manifest(at, _version(), schemas, _settings(settings.inherited), tuple(notes), tuple(archive.members))
    archive.close(manifest)
    return manifest


def _copy_databases(data: DataDir, folder: Path) -> tuple[dict[str, Path], datetime]:
    files = sorted(data.db.glob("*.sqlite3"))
    copies = {file.stem: folder / file.name for file in files}
    with one_moment(files) as moment:
        for service, view in moment.views.items():
            copy(view, copies[service])
        return copies, moment.at


def _add(archive: ArchiveWriter, name: str, path: Path) -> None:
    with path.open("rb") as source:
        archive.add(name, source, os.fstat(source.fileno()).st_size)


def _add_objects(settings: SupervisorSettings, archive: ArchiveWriter, named: set[str]) -> list[str]:
    """Add the stored objects; return what is to be told: those that went meanwhile, and storage elsewhere."""
    folder = local_objects(settings)
    if folder is None:
        return ["stored objects: they are in storage of their own (CANDELA_OBJECTS_URL), which needs its own backups"]
    kept: set[str] = set()
    for name, path in plain_files(folder, deep=True):
        # One that is deleted between the listing and now belongs to a file that somebody deleted after the moment.
        with contextlib.suppress(FileNotFoundError):
            _add(archive, f"objects/{name}", path)
            kept.add(name)
    if not (missing := sorted(named - kept)):
        return []
    more = f" and {len(missing) - _NAMED_AT_MOST} more" if len(missing) > _NAMED_AT_MOST else ""
    return [f"objects that rows name and that are not stored: {', '.join(missing[:_NAMED_AT_MOST])}{more}"]


def _add_redis(settings: SupervisorSettings, archive: ArchiveWriter) -> list[str]:
    """Add Redis's append-only file. What it gets while it is read is cut at a whole command when Redis loads it."""
    if settings.redis_url:
        return ["Redis: it is a server of its own (CANDELA_REDIS_URL), which needs its own backups"]
    for name, path in plain_files(settings.data.redis, deep=True):
        with contextlib.suppress(FileNotFoundError):
            _add(archive, f"redis/{name}", path)
    return []


def _settings(inherited: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in sorted(inherited.items()) if name.startswith("CANDELA_")}
    return {name: "(not told)" if name.endswith(_SECRET) else value for name, value in own.items()}


def _version() -> str:
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def text_of(error: Exception) -> str:
    """Return an error in one line, with the file that an operation failed on."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


def _tell(manifest: Manifest, target: Path, seconds: float, out: TextIO) -> None:
    size = sum(member.size for member in manifest.members)
    rooms = [member.name.partition("/")[0] for member in manifest.members]
    print(f"{target}", file=out)
    counts = f"{rooms.count('db')} databases, {rooms.count('objects')} objects, {rooms.count('keys')} keys"
    print(f"  {size / 1024**2:.1f} MiB in {seconds:.1f} s: {counts}; read back and verified", file=out)
    print(f"  holds everything committed until {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC", file=out)
    for line in manifest.not_covered:
        print(f"  not in it: {line}", file=out)
    print(
        "  It holds the keys: whoever reads it can be everybody. It is readable for its owner only (mode 600).",
        file=out,
    )
