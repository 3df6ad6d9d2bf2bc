"""One trace as rows: parents before children, links, what is late, what is made up."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from rich.console import Console

from supervisor.traces.show import milliseconds, print_tree, short_name, waterfall
from supervisor.traces.store import TraceStore
from supervisor.traces.tree import Row, guide, rows
from tests.unit.supervisor.spans import request, span, trace_id


def tree(*spans: Span, of: int = 1) -> list[Row]:
    store = TraceStore()
    store.add(request(*spans))
    (trace,) = store.find(trace_id(of).hex())
    return rows(trace, store.linking_to(trace))


def drawn(lines: list[Row]) -> list[str]:
    return [guide(row) + row.span.name for row in lines]


def test_children_stand_under_their_parent_in_the_order_they_began() -> None:
    lines = tree(
        span(1, 4, parent=2, start_ms=2, name="query"),
        span(1, 1, name="edge", took_ms=9),
        span(1, 3, parent=1, start_ms=5, name="second"),
        span(1, 2, parent=1, start_ms=1, name="first"),
    )
    assert drawn(lines) == ["edge", "├─ first", "│  └─ query", "└─ second"]
    assert [(row.offset_ms, row.duration_ms) for row in lines] == [(0, 9), (1, 1), (2, 1), (5, 1)]


def test_a_span_whose_parent_is_missing_is_a_root_with_a_note() -> None:
    lines = tree(span(1, 1), span(1, 5, parent=0xAB00000000000000, start_ms=1))
    assert drawn(lines) == ["span 1", "span 5"]
    assert lines[1].note == "parent ab000000 not received"


def test_a_late_parent_takes_its_place_above() -> None:
    store = TraceStore()
    store.add(request(span(1, 2, parent=1, start_ms=1)))
    assert drawn(rows(store.latest(1)[0])) == ["span 2"]
    store.add(request(span(1, 1)))
    assert drawn(rows(store.latest(1)[0])) == ["span 1", "└─ span 2"]


def test_a_batch_of_another_trace_stands_under_the_request_it_served() -> None:
    batch = span(3, 9, name="batch", start_ms=2, links=[(1, 2), (2, 2)])
    lines = tree(span(1, 1), span(1, 2, parent=1, start_ms=1, name="infer"), span(2, 2), batch)
    assert drawn(lines) == ["span 1", "└─ infer", "   └─ batch"]
    assert lines[2].note == "linked from trace 00000000, links 2 spans of 2 traces"


def test_a_batch_within_the_trace_tells_its_links() -> None:
    lines = tree(span(1, 1), span(1, 2, parent=1, name="batch", links=[(1, 1), (2, 1)]))
    assert lines[1].note == "links 2 spans of 2 traces"


def test_an_error_tells_its_message() -> None:
    (row,) = tree(span(1, 1, error="model not loaded"))
    assert row.note == "ERROR model not loaded"


def test_only_attributes_worth_the_room_are_shown() -> None:
    boring = {"thread.id": "7", "rpc.response.status_code": "OK", "response_flags": "-"}
    telling = {"candela.inference.queue_ms": "12.3456", "candela.inference.batch_size": "4", "http.url": "/v1/1.50"}
    (row,) = tree(span(1, 1, attributes=boring | telling))
    assert row.attributes == (("path", "/v1/1.50"), ("batch", "4"), ("queue_ms", "12.3"))


def test_parents_in_a_ring_do_not_loop() -> None:
    lines = tree(span(1, 1, parent=2), span(1, 2, parent=1, start_ms=1), span(1, 3, parent=3, start_ms=2))
    assert sorted(row.span.name for row in lines) == ["span 1", "span 2", "span 3"]


def test_five_hundred_levels_are_shown() -> None:
    lines = tree(*(span(1, number, parent=number - 1, start_ms=number) for number in range(1, 501)))
    assert [row.depth for row in lines] == list(range(500))


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 9), st.integers(0, 50)), min_size=1, max_size=12))
def test_every_span_appears_exactly_once(made_up: list[tuple[int, int, int]]) -> None:
    spans = [span(1, number, parent=parent, start_ms=start) for number, parent, start in made_up]
    lines = tree(*spans)
    assert sorted(row.span.span_id for row in lines) == sorted({made.span_id.hex() for made in spans})


def test_the_printed_tree_has_names_services_and_times() -> None:
    store = TraceStore()
    store.add(request(span(1, 1, name="POST /v1/documents:recognize", took_ms=120.0), service="envoy"))
    store.add(request(span(1, 2, parent=1, name="RecognizeDocument", start_ms=2.5, took_ms=100), service="recognition"))
    out = io.StringIO()
    print_tree(Console(file=out, width=160), store.latest(1)[0], store)
    head, _, _, first, second = out.getvalue().splitlines()
    assert "2 spans" in head
    assert first.split()[:3] == ["POST", "/v1/documents:recognize", "envoy"]
    assert second.split()[:6] == ["└─", "RecognizeDocument", "recognition", "+2.5", "ms", "100.0"]


@pytest.mark.parametrize(("value", "text"), [(0.4234, "0.42 ms"), (12.34, "12.3 ms"), (1240, "1.24 s")])
def test_durations_are_for_people(value: float, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("candela.inference.v1.OcrService/DetectText", "OcrService/DetectText"),
        ("POST /v1/documents:recognize", "POST /v1/documents:recognize"),
        ("GET /.well-known/jwks.json", "GET /.well-known/jwks.json"),
        ("inference.batch", "inference.batch"),
    ],
)
def test_names_of_calls_are_shown_without_their_package(name: str, short: str) -> None:
    assert short_name(name) == short


@given(st.floats(-10, 200), st.floats(0, 1000), st.floats(0, 100))
def test_a_bar_always_has_the_same_width_and_at_least_one_cell(offset: float, duration: float, total: float) -> None:
    bar = waterfall(offset, duration, total)
    assert len(bar) == 16
    assert total < 1e-6 or "━" in bar
