"""The output of a process as lines of JSON in a bounded file."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.logs import ProcessLog


class Heard(list[tuple[str, str]]):
    def __call__(self, level: str, message: str) -> None:
        self.append((level, message))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def log(tmp_path: Path, heard: Heard) -> Iterator[ProcessLog]:
    log = ProcessLog("redis", tmp_path / "redis.jsonl", heard, max_bytes=10_000)
    yield log
    log.close()


def written(log_file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in log_file.read_text().splitlines()]


def test_json_lines_stay_as_they_are(log: ProcessLog, tmp_path: Path, heard: Heard) -> None:
    lines = b'{"level":"INFO","message":"a"}\n{"level":"INFO","message":"b"}\n'
    log.feed(lines[:25])
    log.feed(lines[25:])
    assert (tmp_path / "redis.jsonl").read_bytes() == lines
    assert heard == []


@pytest.mark.parametrize("level", ["WARNING", "ERROR", "CRITICAL", "error", "warning"])
def test_warnings_and_errors_are_told(log: ProcessLog, heard: Heard, level: str) -> None:
    log.feed(b'{"level":"INFO","message":"fine"}\n' + json.dumps({"level": level, "message": "hot"}).encode() + b"\n")
    assert heard == [(level.upper(), "hot")]


def test_other_lines_become_json(log: ProcessLog, tmp_path: Path, heard: Heard) -> None:
    log.feed("ValueError: no such thing\n  ünïcode\n".encode() + b"\xff\xfe\n\n")
    lines = written(tmp_path / "redis.jsonl")
    assert [line["message"] for line in lines] == ["ValueError: no such thing", "  ünïcode", "��"]
    assert [line["level"] for line in lines] == ["ERROR", "INFO", "INFO"]
    assert heard == [("ERROR", "ValueError: no such thing")]


def test_lines_of_redis_keep_their_level(log: ProcessLog, tmp_path: Path, heard: Heard) -> None:
    log.feed(b"4711:M 22 Nov 2026 14:00:00.123 * Ready to accept connections\n")
    log.feed(b"4711:M 22 Nov 2026 14:00:00.123 # Server initialized\n")
    log.feed(b"4711:M 22 Nov 2026 14:00:00.123 # Write error saving DB on disk\n")
    assert written(tmp_path / "redis.jsonl")[0]["message"] == "Ready to accept connections"
    assert heard == [("WARNING", "Write error saving DB on disk")]


def test_what_came_without_a_newline_is_written_at_the_end(log: ProcessLog, tmp_path: Path) -> None:
    log.feed(b"last words")
    assert written(tmp_path / "redis.jsonl") == []
    log.end()
    assert [line["message"] for line in written(tmp_path / "redis.jsonl")] == ["last words"]


def test_the_files_are_bounded_and_every_line_in_them_is_whole(log: ProcessLog, tmp_path: Path) -> None:
    for number in range(2000):
        log.feed(json.dumps({"level": "INFO", "message": f"line {number}"}).encode() + b"\n")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["redis.jsonl", "redis.jsonl.1", "redis.jsonl.2"]
    assert all(file.stat().st_size <= 10_000 for file in files)
    assert written(files[0])[-1]["message"] == "line 1999"
    assert all(written(file) for file in files)


def test_a_line_without_end_does_not_fill_the_memory(log: ProcessLog, tmp_path: Path) -> None:
    for _ in range(20):
        log.feed(b"x" * 100_000)
    assert len(written(tmp_path / "redis.jsonl")) >= 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"level":"ERROR"',
        b'{"level":"ERROR",}',
        b'{"level":"ERROR","message":3}',
        b"[" * 5000,
        b'{"level": "ERROR", "a":' + b"[" * 5000 + b"}",
    ],
)
def test_odd_lines_do_no_harm(log: ProcessLog, tmp_path: Path, line: bytes) -> None:
    log.feed(line + b"\n")
    assert (tmp_path / "redis.jsonl").stat().st_size > 0


def test_the_tail_is_for_people(log: ProcessLog) -> None:
    log.feed(b'{"level":"ERROR","message":"no database"}\nTraceback\nTraceback\n')
    assert log.tail() == ["ERROR no database", "Traceback"]


def test_a_full_disk_does_not_stop_the_mesh(tmp_path: Path, heard: Heard) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("not run: no /dev/full on this machine")
    (tmp_path / "full.jsonl").symlink_to(full)
    log = ProcessLog("full", tmp_path / "full.jsonl", heard)
    log.feed(b'{"level":"ERROR","message":"still told"}\n')
    log.close()
    assert heard == [("ERROR", "still told")]
