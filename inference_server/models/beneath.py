"""Reads files below a folder and follows no link on the way, so that nothing outside of it can be reached."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from inference_server.models.weights import WeightsError

_CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe must not make us wait


class Beneath:
    """A folder whose files are named by their parts: `("plates", "1", "model.onnx")`. It may itself be a link."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folders(self, *parts: str) -> list[str]:
        """Return the names of the folders in a folder, sorted; links are left out."""
        with self._folder(parts) as handle, os.scandir(handle) as found:
            return sorted(one.name for one in found if one.is_dir(follow_symlinks=False))

    def files(self, *parts: str) -> list[str]:
        """Return the names of the plain files in a folder, sorted; links are left out."""
        with self._folder(parts) as handle, os.scandir(handle) as found:
            return sorted(one.name for one in found if one.is_file(follow_symlinks=False))

    def read(self, parts: Sequence[str], most: int) -> bytes:
        """Return a file's bytes; raises WeightsError for links, what is no plain file, and more than `most` bytes."""
        what = "/".join(parts)
        with self._folder(_names(parts)[:-1]) as folder:
            try:
                handle = os.open(parts[-1], _FILE, dir_fd=folder)
            except OSError as error:
                raise WeightsError(f"cannot read {what}: {_reason(error)}") from error
            with os.fdopen(handle, "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise WeightsError(f"cannot read {what}: it is no plain file")
                if status.st_size > most:
                    raise WeightsError(f"{what} has {status.st_size} bytes; at most {most} are read")
                # One byte more than it should have, so that a file that grows meanwhile is noticed.
                data = file.read(status.st_size + 1)
        if len(data) != status.st_size:
            raise WeightsError(f"{what} changed while it was read")
        return data

    def read_checked(self, parts: Sequence[str], sha256: str, most: int) -> bytes:
        """Return a file's bytes if their SHA-256 is the expected one; raises WeightsError."""
        data = self.read(parts, most)
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise WeightsError(f"{'/'.join(parts)} has SHA-256 {found}, not {sha256}")
        return data

    @contextmanager
    def _folder(self, parts: Sequence[str]) -> Iterator[int]:
        """Open a folder part by part; none of them is followed if it is a link."""
        handle = -1
        try:
            handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for part in _names(parts):
                inner = os.open(part, _FOLDER, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle
        except FileNotFoundError as error:
            raise WeightsError(f"there is no folder {'/'.join((str(self._root), *parts))}") from error
        except OSError as error:
            raise WeightsError(f"cannot read {'/'.join((str(self._root), *parts))}: {_reason(error)}") from error
        finally:
            if handle >= 0:
                os.close(handle)


def _names(parts: Sequence[str]) -> Sequence[str]:
    """Return the parts of a path if each is a name and no path of its own; raises WeightsError."""
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        raise WeightsError(f"{'/'.join(parts)!r} is no path in the repository")
    return parts


def _reason(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "there is a link or a file where a folder should be"
    return error.strerror or str(error)
