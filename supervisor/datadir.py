"""The data directory: where everything one mesh keeps lies, and the lock that gives it one supervisor."""

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_PRIVATE_DIR = 0o700
_PRIVATE_FILE = 0o600
_SUBDIRECTORIES = ("db", "objects", "redis", "logs", "run", "traces")


class DataDirInUseError(Exception):
    """Another supervisor holds the data directory; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class DataDir:
    """The paths inside one data directory. Nothing is touched before `prepare`."""

    root: Path
    keys_elsewhere: Path | None = None

    @property
    def keys(self) -> Path:
        return self.keys_elsewhere or self.root / "keys"

    @property
    def db(self) -> Path:
        return self.root / "db"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def traces(self) -> Path:
        return self.root / "traces"

    @property
    def status_file(self) -> Path:
        return self.run / "status.json"

    @property
    def lock_file(self) -> Path:
        return self.run / "supervisor.lock"

    @property
    def sample_page(self) -> Path:
        return self.root / "sample-page.png"

    def prepare(self) -> None:
        """Create the directory and its rooms, readable by their owner only. Existing files stay as they are.

        Raises OSError when a directory cannot be made.
        """
        self.root.mkdir(mode=_PRIVATE_DIR, parents=True, exist_ok=True)
        for name in _SUBDIRECTORIES:
            (self.root / name).mkdir(mode=_PRIVATE_DIR, exist_ok=True)
        self.keys.mkdir(mode=_PRIVATE_DIR, parents=True, exist_ok=True)
        # An older directory may have been made with a wide umask; the keys must not be readable through it.
        if self.keys.stat().st_mode & 0o077:
            self.keys.chmod(_PRIVATE_DIR)

    def free_bytes(self) -> int:
        """Return the bytes free for an ordinary user on the file system that holds, or will hold, the directory."""
        existing = next(path for path in (self.root, *self.root.parents) if path.exists())
        return shutil.disk_usage(existing).free


class DataDirLock:
    """An exclusive hold on a data directory; it ends with the process, even one that was killed.

    The file's text is the holder's pid, for the message that a second supervisor prints.
    """

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open(self._data.lock_file, os.O_RDWR | os.O_CREAT, _PRIVATE_FILE)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise DataDirInUseError(
                f"another supervisor (pid {holder}) already runs on {self._data.root}. Stop it (Ctrl-C in its "
                f"terminal, or kill {holder}), or start beside it with another CANDELA_DATA_DIR and CANDELA_PORT_BASE."
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def holder_of(data: DataDir) -> int | None:
    """Return the pid of the supervisor that holds the directory, None when nobody does."""
    try:
        fd = os.open(data.lock_file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(fd)
    return None


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that a reader sees the old or the new content and never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
