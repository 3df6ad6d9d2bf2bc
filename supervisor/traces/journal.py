"""The traces on disk: segments of length-prefixed OTLP requests, appended by one supervisor, read by anybody.

A segment is `CTR1`, the number of traces that begin in it (4 bytes, big-endian, kept up to date in place), then
records of 4 bytes length and an ExportTraceServiceRequest. A new segment begins with every supervisor, and when the
current one is full. The oldest go as soon as the newer ones hold enough traces: so the last 1,000 are always there,
within 64 MiB, they outlive the supervisor however it ends, and reading them needs no process that runs.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"CTR1"
_HEADER = struct.Struct(">4sI")
_LENGTH = struct.Struct(">I")
_PATTERN = "*.otlp"
_PRIVATE_FILE = 0o600


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """How much is kept."""

    traces: int = 1000
    bytes: int = 64 * 1024 * 1024
    segment_traces: int = 250
    segment_bytes: int = 4 * 1024 * 1024


LIMITS = JournalLimits()


class JournalWriter:
    """Appends requests. One writer per directory: the lock of the data directory sees to that."""

    def __init__(self, directory: Path, limits: JournalLimits = LIMITS) -> None:
        """Begin a new segment after those that are there. Raises OSError when the directory cannot be written."""
        self._directory = directory
        self._limits = limits
        self._fd = -1
        self._next = max((_number(path) for path in segments(directory)), default=0) + 1
        self._begin_segment()

    def append(self, request: bytes, new_traces: int) -> None:
        """Write one request in which `new_traces` traces appear for the first time. Raises OSError on a full disk."""
        if self._traces >= self._limits.segment_traces or self._bytes + len(request) > self._limits.segment_bytes:
            self._begin_segment()
        record = _LENGTH.pack(len(request)) + request
        # pwrite at the known end: a record that a full disk cut short is overwritten by the next one.
        if os.pwrite(self._fd, record, self._bytes) != len(record):
            raise OSError("the disk took only a part of the traces")
        self._bytes += len(record)
        self._traces += new_traces
        os.pwrite(self._fd, _HEADER.pack(_MAGIC, self._traces), 0)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _begin_segment(self) -> None:
        self.close()
        path = self._directory / f"{self._next:08d}.otlp"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
        self._bytes = os.pwrite(self._fd, _HEADER.pack(_MAGIC, 0), 0)
        self._traces = 0
        self._next += 1
        self._remove_old(keep=path)

    def _remove_old(self, keep: Path) -> None:
        """Remove the segments that the newer ones make superfluous, and those without a single record."""
        traces = total = 0
        for path in reversed(segments(self._directory)):
            size = path.stat().st_size
            superfluous = traces >= self._limits.traces or total + size > self._limits.bytes
            if path != keep and (superfluous or size <= _HEADER.size):
                path.unlink()
                continue
            traces += _count(path)
            total += size


class JournalReader:
    """Reads what was appended since the last time, so that polling costs only what is new."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offsets: dict[str, int] = {}

    def new_requests(self) -> Iterator[bytes]:
        """Yield the requests not read yet, oldest first. A torn or foreign segment ends where it is broken."""
        paths = segments(self._directory)
        self._offsets = {path.name: self._offsets.get(path.name, _HEADER.size) for path in paths}
        for path in paths:
            start = self._offsets[path.name]
            content = _read_from(path, start)
            offset = 0
            while (end := _end_of_record(content, offset)) is not None:
                yield content[offset + _LENGTH.size : end]
                self._offsets[path.name] = start + end
                offset = end


def segments(directory: Path) -> list[Path]:
    """Return the segments in the order they were begun."""
    return sorted((path for path in directory.glob(_PATTERN) if path.stem.isdigit()), key=_number)


def _read_from(path: Path, offset: int) -> bytes:
    """Return a segment's bytes from `offset` on; nothing when it is foreign or was removed meanwhile."""
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return b""
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""


def _end_of_record(content: bytes, offset: int) -> int | None:
    """Return where the record at `offset` ends, None when it is not complete."""
    if offset + _LENGTH.size > len(content):
        return None
    end = offset + _LENGTH.size + int(_LENGTH.unpack_from(content, offset)[0])
    return end if end <= len(content) else None


def _number(path: Path) -> int:
    return int(path.stem)


def _count(path: Path) -> int:
    """Return how many traces begin in a segment, 0 when its header cannot be read."""
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
    return int(_HEADER.unpack(header)[1]) if len(header) == _HEADER.size else 0
