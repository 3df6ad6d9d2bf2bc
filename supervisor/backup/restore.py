"""`python -m supervisor restore`: a data directory from a backup, made beside and moved into place in one step."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from services.kit.migrations import MigrationError, newest_revision
from supervisor.backup.archive import check, extract
from supervisor.backup.create import text_of
from supervisor.backup.manifest import ROOMS, ArchiveError, Manifest
from supervisor.backup.servers import elsewhere
from supervisor.backup.snapshot import SnapshotError, revision_of, verify
from supervisor.datadir import DataDir, DataDirInUseError, DataDirLock, holder_of
from supervisor.settings import REPOSITORY, SupervisorSettings, python

_MARGIN_BYTES = 64 * 1024 * 1024
_PRIVATE_DIR = 0o700
_MIGRATION_SECONDS = 3600.0


def restore(settings: SupervisorSettings, archive: str, *, force: bool = False, out: TextIO = sys.stdout) -> int:
    """Put a backup in the place of the data directory; return 0, or 1 when nothing was changed.

    What is there already is refused, and with `force` moved aside, never deleted.
    """
    begun, asked_at = time.monotonic(), datetime.now(UTC)
    try:
        manifest, aside = _restore(settings, Path(archive).expanduser().absolute(), force=force)
    except (ArchiveError, SnapshotError, MigrationError, DataDirInUseError, OSError, ValueError) as error:
        print(f"nothing was restored, and nothing was changed: {text_of(error)}", file=sys.stderr)
        return 1
    _tell(settings, manifest, aside, (time.monotonic() - begun, asked_at), out)
    return 0


def _restore(settings: SupervisorSettings, archive: Path, *, force: bool) -> tuple[Manifest, list[Path]]:
    """Check everything, build the new directory beside, and swap; return what it was and where the old ones are."""
    data = settings.data
    elsewhere(settings)  # a wrong URL is said now, not when everything is done
    if (holder := holder_of(data)) is not None:
        raise ArchiveError(f"a mesh runs on {data.root} (supervisor pid {holder}): stop it first")
    if _is_occupied(data) and not force:
        raise ArchiveError(f"{data.root} holds data already: FORCE=1 moves it aside (it is not deleted)")
    manifest = check(archive)
    _check_schemas(manifest.schemas)
    _check_space(manifest, data)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}"
    fresh = DataDir(data.root.with_name(f"{data.root.name}.restoring-{stamp}"), _beside(data.keys_elsewhere, stamp))
    try:
        _build(archive, manifest, fresh)
        return manifest, _swap(data, fresh, stamp)
    finally:
        for leftover in (fresh.root, fresh.keys):
            shutil.rmtree(leftover, ignore_errors=True)


def _beside(folder: Path | None, stamp: str) -> Path | None:
    return folder and folder.with_name(f"{folder.name}.restoring-{stamp}")


def _is_occupied(data: DataDir) -> bool:
    rooms = [data.keys if room == "keys" else data.root / room for room in ROOMS]
    return any(room.is_dir() and any(room.iterdir()) for room in rooms)


def _check_space(manifest: Manifest, data: DataDir) -> None:
    needed = sum(member.size for member in manifest.members) + _MARGIN_BYTES
    if (free := data.free_bytes()) < needed:
        raise ArchiveError(
            f"{needed / 1024**2:.0f} MiB are needed beside {data.root}, {free / 1024**2:.0f} MiB are free"
        )


def migrations_of(service: str) -> Path | None:
    """Return the folder of a service's migrations, None when this version has no such service."""
    folder = REPOSITORY / "services" / service / "migrations"
    return folder if (folder / "versions").is_dir() else None


def _check_schemas(schemas: Mapping[str, str]) -> None:
    for service, number in schemas.items():
        folder = migrations_of(service)
        if folder is not None and number > (newest := newest_revision(folder)):
            raise ArchiveError(
                f"the database of {service} is newer ({number}) than this version of Candela ({newest}): "
                "restore it with the version that made it, or a newer one"
            )


def _build(archive: Path, manifest: Manifest, fresh: DataDir) -> None:
    """Write the new directory, check its databases and bring them up to date."""
    fresh.root.mkdir(mode=_PRIVATE_DIR, parents=True)
    fresh.prepare()

    def place(name: str) -> Path:
        room, _, inside = name.partition("/")
        return (fresh.keys if room == "keys" else fresh.root / room) / inside

    extract(archive, manifest, place)
    for file in sorted(fresh.db.glob("*.sqlite3")):
        verify(file)
        number = revision_of(file)
        if number != manifest.schemas.get(file.stem):
            raise ArchiveError(f"{file.name} has migration {number} and not the one that the manifest says")
        _migrate(file)


def _migrate(file: Path) -> None:
    """Bring a database forward with the service's own command, which also runs before every start."""
    service, folder = file.stem, migrations_of(file.stem)
    if folder is None or revision_of(file) == newest_revision(folder):
        return
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CANDELA_")},
        "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "clients" / "python" / "src"))),
        f"CANDELA_{service.upper()}_DATABASE_URL": f"sqlite+aiosqlite:///{file}",
    }
    command = [python(), "-m", f"services.{service}.main", "migrate"]
    try:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=_MIGRATION_SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ArchiveError(f"the migration of {service} did not end within {_MIGRATION_SECONDS:.0f} s") from error
    if done.returncode != 0:
        raise ArchiveError(f"the migration of {service} failed: {done.stderr.strip().splitlines()[-1:]}")


def _swap(data: DataDir, fresh: DataDir, stamp: str) -> list[Path]:
    """Put the new folders in the place of the old ones; return where those are now. All of it, or nothing."""
    pairs = [(data.root, fresh.root)]
    if data.keys_elsewhere is not None:
        pairs.append((data.keys, fresh.keys))
    undo: list[tuple[Path, Path]] = []
    with _held(data):
        try:
            for old, new in pairs:
                aside = old.with_name(f"{old.name}.before-restore-{stamp}")
                if old.exists():
                    old.rename(aside)
                    undo.append((aside, old))
                new.rename(old)
                undo.append((old, new))
        except OSError:
            for source, back in reversed(undo):
                source.rename(back)
            raise
    return [source for source, _ in undo if ".before-restore-" in source.name]


@contextmanager
def _held(data: DataDir) -> Iterator[None]:
    """Keep every supervisor away from the directory that is there, if one is."""
    exists = data.lock_file.parent.is_dir()
    with DataDirLock(data) if exists else nullcontext():
        yield


def _tell(
    settings: SupervisorSettings,
    manifest: Manifest,
    aside: list[Path],
    measured: tuple[float, datetime],
    out: TextIO,
) -> None:
    seconds, asked_at = measured
    lost = (asked_at - manifest.taken_at).total_seconds()
    print(f"restored {settings.data.root} from the backup of {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC", file=out)
    print(f"  RTO {seconds:.2f} s until the data were in place; make run adds its start", file=out)
    print(f"  RPO {lost:.1f} s: what was committed since the backup, until this command began, is lost", file=out)
    for folder in aside:
        if written := _last_written(folder):
            print(f"  the last commit that is not in it: {written:%Y-%m-%d %H:%M:%S} UTC", file=out)
        print(f"  what was there is in {folder}; delete it when you need it no more", file=out)
    for line in manifest.not_covered:
        print(f"  was not in the backup: {line}", file=out)
    for service, url in elsewhere(settings).items():
        dump = settings.data.db / f"{service}.pgdump"
        if dump.exists():
            print(f"  load it yourself: pg_restore --no-owner --clean --if-exists -d DATABASE {dump}", file=out)
        else:
            print(f"  {service} uses a {url.kind.value} database elsewhere; it was not touched", file=out)


def _last_written(folder: Path) -> datetime | None:
    """Return when a database of an old data directory was last written to."""
    times = [path.stat().st_mtime for path in (folder / "db").glob("*.sqlite3*") if path.is_file()]
    return datetime.fromtimestamp(max(times), UTC) if times else None
