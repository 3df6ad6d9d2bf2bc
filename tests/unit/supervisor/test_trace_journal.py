"""Traces on disk: bounded, readable while written, whole after a crash; and what the receiver lets through."""

from pathlib import Path

import pytest

from supervisor.traces.ingest import MalformedRequestError, TraceIngest
from supervisor.traces.journal import JournalLimits, JournalReader, JournalWriter, segments
from supervisor.traces.store import StoredTraces
from tests.unit.supervisor.spans import request, span

SMALL = JournalLimits(traces=10, bytes=100_000, segment_traces=4, segment_bytes=20_000)


def test_what_was_written_is_read_while_the_writer_goes_on(tmp_path: Path) -> None:
    writer, reader = JournalWriter(tmp_path), JournalReader(tmp_path)
    writer.append(b"one", 1)
    assert list(reader.new_requests()) == [b"one"]
    writer.append(b"two", 1)
    writer.append(b"three", 0)
    assert list(reader.new_requests()) == [b"two", b"three"]
    assert list(reader.new_requests()) == []
    writer.close()


def test_the_traces_of_an_earlier_supervisor_stay(tmp_path: Path) -> None:
    for text in (b"first life", b"second life"):
        writer = JournalWriter(tmp_path)
        writer.append(text, 1)
        writer.close()
    assert list(JournalReader(tmp_path).new_requests()) == [b"first life", b"second life"]


def test_enough_traces_are_kept_and_not_many_more(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, SMALL)
    for number in range(100):
        writer.append(b"%d" % number, 1)
    kept = [int(raw) for raw in JournalReader(tmp_path).new_requests()]
    assert kept == list(range(kept[0], 100))
    assert 10 <= len(kept) <= 10 + 2 * 4
    writer.close()


def test_bytes_are_bounded_however_few_the_traces(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, SMALL)
    for _ in range(100):
        writer.append(b"x" * 15_000, 0)
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= SMALL.bytes + SMALL.segment_bytes
    writer.close()


def test_starting_often_leaves_no_empty_segments(tmp_path: Path) -> None:
    for _ in range(20):
        JournalWriter(tmp_path).close()
    assert len(segments(tmp_path)) == 1


def test_a_record_cut_short_by_a_crash_ends_its_segment_only(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    writer.append(b"whole", 1)
    writer.append(b"torn", 1)
    writer.close()
    (segment,) = segments(tmp_path)
    segment.write_bytes(segment.read_bytes()[:-2])
    writer = JournalWriter(tmp_path)
    writer.append(b"next", 1)
    writer.close()
    assert list(JournalReader(tmp_path).new_requests()) == [b"whole", b"next"]


def test_files_of_somebody_else_are_no_segments(tmp_path: Path) -> None:
    (tmp_path / "00000001.otlp").write_bytes(b"something else entirely")
    (tmp_path / "notes.otlp").write_text("hello")
    assert list(JournalReader(tmp_path).new_requests()) == []


@pytest.fixture
def ingest(tmp_path: Path) -> TraceIngest:
    return TraceIngest(JournalWriter(tmp_path), max_traces=100, max_spans_per_trace=5)


def kept(directory: Path) -> list[str]:
    store = StoredTraces(directory).refresh()
    return sorted(record.name for trace in store.latest(1000) for record in trace.spans.values())


def test_good_spans_are_kept_as_they_came(ingest: TraceIngest, tmp_path: Path) -> None:
    raw = request(span(1, 1), span(1, 2))
    assert ingest.take(raw) == 0
    assert list(JournalReader(tmp_path).new_requests()) == [raw]
    assert ingest.counts.spans == 2


def test_spans_without_proper_ids_are_refused_and_the_others_kept(ingest: TraceIngest, tmp_path: Path) -> None:
    short, nameless = span(1, 1, name="short"), span(1, 2, name="nameless")
    short.trace_id = b"abc"
    nameless.span_id = b""
    assert ingest.take(request(short, span(1, 3), nameless)) == 2
    assert kept(tmp_path) == ["span 3"]
    assert ingest.counts.refused == 2


def test_a_trace_without_end_is_cut(ingest: TraceIngest, tmp_path: Path) -> None:
    for number in range(1, 20):
        ingest.take(request(span(1, number)))
    assert len(kept(tmp_path)) == 5
    assert ingest.counts.refused == 14


def test_a_giant_span_is_refused(ingest: TraceIngest, tmp_path: Path) -> None:
    assert ingest.take(request(span(1, 1, attributes={"giant": "x" * 70_000}))) == 1
    assert kept(tmp_path) == []


def test_bytes_that_are_no_request_are_an_error_of_the_sender(ingest: TraceIngest) -> None:
    with pytest.raises(MalformedRequestError):
        ingest.take(b"\xff\xff\xff\xff")


def test_the_table_of_known_traces_is_bounded(ingest: TraceIngest) -> None:
    for number in range(1, 1000):
        ingest.take(request(span(number, 1)))
    assert ingest.known_traces == 100
