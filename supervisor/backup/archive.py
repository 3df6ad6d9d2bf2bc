"""Writing and reading archives. Reading is strict: plain files with known names, every byte accounted for."""

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from supervisor.backup.manifest import MANIFEST, MANIFEST_BYTES, ArchiveError, Manifest, Member, member_name

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1024 * 1024
_PRIVATE_FILE, _PRIVATE_DIR = 0o600, 0o700
_SHORT_NAME = 100  # what a tar header holds in its first field
_EMPTY = bytes(_BLOCK)


class ArchiveWriter:
    """Appends files to an archive and remembers their hashes."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.members: list[Member] = []

    def add(self, name: str, source: BinaryIO, size: int) -> None:
        """Append `size` bytes of a file. Raises OSError when it has fewer: it was cut while it was read."""
        self._out.write(_header(member_name(name), size))
        digest = hashlib.sha256()
        for chunk in _chunks(source, size):
            digest.update(chunk)
            self._out.write(chunk)
        self._pad(size)
        self.members.append(Member(name, size, digest.hexdigest()))

    def close(self, manifest: Manifest) -> None:
        """Append the manifest and the end of the archive."""
        raw = manifest.to_json()
        self._out.write(_header(MANIFEST, len(raw)) + raw)
        self._pad(len(raw))
        self._out.write(2 * _EMPTY)

    def _pad(self, size: int) -> None:
        self._out.write(bytes(-size % _BLOCK))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, _PRIVATE_FILE
    # GNU's header takes files of any size, the older one longer names; no file is both that large and that deep.
    if len(name) <= _SHORT_NAME:
        return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def check(path: Path) -> Manifest:
    """Read the whole archive, changing nothing, and return its manifest.

    Raises ArchiveError for anything else than what `ArchiveWriter` writes: another kind of file, links, names that
    lead elsewhere, members that are missing, doubled, cut or changed. OSError when it cannot be read.
    """
    found: dict[str, Member] = {}
    manifest: Manifest | None = None
    with path.open("rb") as file:
        for name, size in _entries(file):
            if manifest is not None:
                raise ArchiveError("the archive goes on after its manifest")
            if name == MANIFEST:
                if size > MANIFEST_BYTES:
                    raise ArchiveError("the archive's manifest is too large")
                manifest = Manifest.from_json(_exactly(file, size))
            elif name in found:
                raise ArchiveError(f"{name} is in the archive twice")
            else:
                found[name] = Member(name, size, _digest(file, size))
    if manifest is None:
        raise ArchiveError("the archive has no manifest: it was cut short, or is no backup of Candela")
    _compare(manifest, found)
    return manifest


def _compare(manifest: Manifest, found: dict[str, Member]) -> None:
    listed = {member.name: member for member in manifest.members}
    if missing := sorted(listed.keys() - found.keys()):
        raise ArchiveError(f"{missing[0]} is missing from the archive")
    if unlisted := sorted(found.keys() - listed.keys()):
        raise ArchiveError(f"{unlisted[0]} is in the archive and not in its manifest")
    for name, member in listed.items():
        if member != found[name]:
            raise ArchiveError(f"{name} is not what the manifest says: the archive is damaged, or was changed")


def extract(path: Path, manifest: Manifest, place: Callable[[str], Path]) -> None:
    """Write every member to where `place` puts its name, private to the owner and safe on the disk.

    Checks the hashes again: the file may have changed since `check`. Raises ArchiveError then, OSError for a full disk.
    """
    listed = {member.name: member for member in manifest.members}
    with path.open("rb") as file:
        for name, size in _entries(file):
            if name == MANIFEST:
                break
            target = place(name)
            target.parent.mkdir(mode=_PRIVATE_DIR, parents=True, exist_ok=True)
            if Member(name, size, _write(file, size, target)) != listed.get(name):
                raise ArchiveError(f"{name} changed while the archive was being restored")


def _write(file: BinaryIO, size: int, target: Path) -> str:
    digest = hashlib.sha256()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE), "wb") as out:
        for chunk in _chunks(file, size):
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _entries(file: BinaryIO) -> Iterator[tuple[str, int]]:
    """Yields name and size of each member, with the file at its content; goes on behind it, read or not."""
    end = file.seek(0, os.SEEK_END)
    position = 0
    while True:
        file.seek(position)
        header = file.read(_BLOCK)
        if header == _EMPTY:
            return
        name, size = _entry(header)
        content = position + _BLOCK
        if content + size > end:
            raise ArchiveError(f"the archive is cut short in {name}")
        yield name, size
        position = content + size + -size % _BLOCK


def _entry(header: bytes) -> tuple[str, int]:
    """Return what a header says; only plain files with names of ours have one that we take."""
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        if info.type != tarfile.REGTYPE or info.size < 0:
            raise ArchiveError(f"{info.name[:100]!r} is no plain file")
        return (info.name if info.name == MANIFEST else member_name(info.name)), info.size
    except (tarfile.HeaderError, ValueError) as error:
        raise ArchiveError(f"the archive is cut short, or is no backup of Candela: {error}") from error


def _digest(file: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(file, size):
        digest.update(chunk)
    return digest.hexdigest()


def _exactly(file: BinaryIO, size: int) -> bytes:
    return b"".join(_chunks(file, size))


def _chunks(source: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left:
        chunk = source.read(min(_CHUNK, left))
        if not chunk:
            raise OSError(f"{size} bytes were expected, {left} of them are missing")
        left -= len(chunk)
        yield chunk
