"""The output of one process: one JSON object a line in a file of bounded size, warnings handed to whoever shows them.

The fast path writes whole chunks: a busy edge logs megabytes a second, and none of its lines is parsed unless the
chunk names a warning or holds a line that is not JSON.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

_MAX_FILE_BYTES = 8 * 1024 * 1024
_OLD_FILES = 2
_MAX_LINE_BYTES = 256 * 1024
_TAIL_BYTES = 8192

_LOUD = re.compile(rb'"level":\s*"(?:warn|warning|error|critical)"', re.IGNORECASE)
_NOT_JSON = re.compile(rb"^(?!\{)|(?<!\})$", re.MULTILINE)
# 4711:M 22 Nov 2026 14:00:00.123 # message — the mark is Redis's level.
_REDIS_LINE = re.compile(r"^\d+:[A-Z] (\d{2} \w{3} \d{4} [\d:.]+) ([.\-*#]) (.*)$")
# Redis marks plain news and advice about the machine with its warning sign too; these words tell the difference.
_REDIS_ADVICE = re.compile(r"WARNING (overcommit_memory|you have Transparent Huge|The TCP backlog)")
_REDIS_TROUBLE = re.compile(r"error|fail|denied|can't|misconf|out of memory|oom", re.IGNORECASE)
_PLAIN_TROUBLE = re.compile(r"^(Fatal |\S*(Error|Exception)\b)|\b(ERROR|CRITICAL|FATAL)\b")

OnWarning = Callable[[str, str], None]
"""Called with the level (`WARNING`, `ERROR`, `CRITICAL`) and the message."""


class BoundedFile:
    """A file that starts anew when it is full; two old ones are kept beside it as `NAME.1` and `NAME.2`."""

    def __init__(self, path: Path, *, max_bytes: int = _MAX_FILE_BYTES, old_files: int = _OLD_FILES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._old_files = old_files
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, lines: bytes) -> None:
        """Append complete lines. A full disk loses them and does not stop the mesh."""
        if self._size and self._size + len(lines) > self._max_bytes:
            self._rotate()
        try:
            self._size += self._file.write(lines) or 0
        except OSError:
            self._size = self._file.tell()

    def close(self) -> None:
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._old_files, 0, -1):
            older = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number}"))
        self._file = self._path.open("wb", buffering=0)
        self._size = 0


class ProcessLog:
    """Takes what a process prints, in chunks of any size, and writes it as lines of JSON."""

    def __init__(self, name: str, path: Path, on_warning: OnWarning, *, max_bytes: int = _MAX_FILE_BYTES) -> None:
        self._name = name
        self._file = BoundedFile(path, max_bytes=max_bytes)
        self._on_warning = on_warning
        self._partial = b""
        self._tail = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk of output."""
        complete, newline, partial = (self._partial + chunk).rpartition(b"\n")
        if len(partial) > _MAX_LINE_BYTES:
            complete, newline, partial = complete + newline + partial, b"\n", b""
        self._partial = partial
        if newline:
            self._write(complete)

    def end(self) -> None:
        """Write what the process printed last without a newline."""
        if self._partial:
            self._write(self._partial)
            self._partial = b""

    def close(self) -> None:
        self._file.close()

    def tail(self, lines: int = 12) -> list[str]:
        """Return the last lines as a person wants to read them: the message of JSON lines, other lines whole."""
        texts = [text for line in self._tail.splitlines() if (text := _readable(line))]
        # A process that failed three times said the same three times.
        return [text for text, before in zip(texts, [None, *texts], strict=False) if text != before][-lines:]

    def _write(self, block: bytes) -> None:
        self._tail = (self._tail + block + b"\n")[-_TAIL_BYTES:]
        if not _LOUD.search(block) and not _NOT_JSON.search(block):
            self._file.write(block + b"\n")
            return
        self._file.write(b"".join(self._as_json(line) + b"\n" for line in block.split(b"\n") if line.strip()))

    def _as_json(self, line: bytes) -> bytes:
        """Return the line as JSON, telling about it when it is a warning or worse."""
        if line.startswith(b"{") and line.endswith(b"}"):
            if _LOUD.search(line):
                self._tell(line)
            return line
        level, message = _classify(line.decode("utf-8", "replace"))
        if level != "INFO":
            self._on_warning(level, message)
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        wrapped = {"timestamp": stamp, "level": level, "logger": self._name, "message": message}
        return json.dumps(wrapped, ensure_ascii=False).encode()

    def _tell(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            level, message = str(record["level"]).upper(), str(record.get("message", ""))
        except (ValueError, KeyError, RecursionError):
            return
        self._on_warning("WARNING" if level == "WARN" else level, message)


def _classify(line: str) -> tuple[str, str]:
    """Return the level and the message of a line that is not JSON."""
    if redis := _REDIS_LINE.match(line):
        _, mark, message = redis.groups()
        trouble = mark == "#" and _REDIS_TROUBLE.search(message) and not _REDIS_ADVICE.match(message)
        return ("WARNING" if trouble else "INFO"), message
    return ("ERROR" if _PLAIN_TROUBLE.search(line) else "INFO"), line


def _readable(line: bytes) -> str:
    try:
        record = json.loads(line)
        return f"{record.get('level', '')} {record.get('message', '')}".strip()
    except (ValueError, AttributeError, RecursionError):
        return line.decode("utf-8", "replace").rstrip()
