"""The steps before a process starts: database migrations and generated configuration, each its own short process."""

import asyncio
import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from supervisor.datadir import write_atomically
from supervisor.logs import ProcessLog
from supervisor.process import Child, describe_exit
from supervisor.specs import Step

_TIMEOUT_SECONDS = 120.0


class StepFailedError(Exception):
    """A step before the start failed; the message says how, `tail` is what it printed last."""

    def __init__(self, message: str, tail: list[str]) -> None:
        super().__init__(message)
        self.tail = tail


async def run_step(step: Step, env: dict[str, str], cwd: Path, log: ProcessLog) -> bool:
    """Run a step that is needed; return False when there was nothing to do.

    Raises StepFailedError when the command fails or takes longer than two minutes.
    """
    if not step.needed():
        return False
    child = await Child.spawn(step.argv, env, cwd, log)
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            status = await child.wait()
    except TimeoutError:
        raise StepFailedError(f"{step.label}: not done within {_TIMEOUT_SECONDS:.0f} s", log.tail()) from None
    finally:
        child.kill()
    if status != 0:
        raise StepFailedError(f"{step.label}: {describe_exit(status)}", log.tail())
    step.done()
    return True


@dataclass(frozen=True, slots=True)
class MigrationStamp:
    """Remembers that an SQLite database has the revision its migrations lead to, so that a second start skips them.

    Starting Python with SQLAlchemy and Alembic only to find nothing to do costs a second of CPU per service. The
    stamp holds a digest of the migration files and the revision that the database had after them; whichever changed,
    or a database that is gone or was restored from a backup, means: migrate.
    """

    stamp: Path
    database: Path
    migrations: Path

    def needed(self) -> bool:
        """Say whether the migrations may have something to do."""
        try:
            known = json.loads(self.stamp.read_text())
        except (OSError, ValueError):
            return True
        revision = self._revision()
        return revision is None or known != {"digest": self._digest(), "revision": revision}

    def done(self) -> None:
        """Remember what was migrated."""
        revision = self._revision()
        if revision is not None:
            content = {"digest": self._digest(), "revision": revision}
            write_atomically(self.stamp, json.dumps(content).encode())

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for file in sorted(self.migrations.rglob("*.py")):
            digest.update(str(file.relative_to(self.migrations)).encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()

    def _revision(self) -> str | None:
        """Return the revision in the database, None when it cannot be read."""
        if not self.database.is_file():
            return None
        try:
            with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=1.0)) as connection:
                rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        except sqlite3.Error:
            return None
        return ",".join(sorted(str(row[0]) for row in rows)) or None
