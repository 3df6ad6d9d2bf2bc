"""Traces in memory: bounds, late spans, links, whatever a sender makes up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.traces.store import TraceStore
from tests.unit.supervisor.spans import request, span, trace_id


def test_spans_of_one_trace_come_together_whatever_their_order() -> None:
    store = TraceStore()
    store.add(request(span(1, 2, parent=1, start_ms=1)))
    store.add(request(span(2, 1)))
    store.add(request(span(1, 1, took_ms=5), service="envoy"))
    (trace,) = store.find(trace_id(1).hex())
    assert {record.service for record in trace.spans.values()} == {"user", "envoy"}
    assert trace.root.service == "envoy"
    assert (trace.end - trace.start) / 1e6 == 5


def test_the_oldest_trace_makes_room() -> None:
    store = TraceStore(max_traces=3)
    for number in range(1, 6):
        store.add(request(span(number, 1, start_ms=number)))
    assert [trace.trace_id for trace in store.latest(10)] == [trace_id(n).hex() for n in (5, 4, 3)]


def test_a_trace_holds_a_bounded_number_of_spans() -> None:
    store = TraceStore(max_spans_per_trace=10)
    store.add(request(*(span(1, number) for number in range(1, 100))))
    assert len(store.latest(1)[0].spans) == 10


def test_a_span_sent_twice_counts_once() -> None:
    store = TraceStore()
    store.add(request(span(1, 1)))
    store.add(request(span(1, 1, name="again")))
    assert [record.name for record in store.latest(1)[0].spans.values()] == ["span 1"]


def test_traces_are_found_by_the_beginning_of_their_id_in_any_case() -> None:
    store = TraceStore()
    store.add(request(span(0xAB << 120, 1), span(0xAC << 120, 1)))
    assert len(store.find("AB")) == 1
    assert len(store.find("a")) == 2
    assert store.find("b") == []


def test_the_root_of_a_trace_whose_root_is_late_is_its_earliest_span() -> None:
    store = TraceStore()
    store.add(request(span(1, 3, parent=2, start_ms=2), span(1, 4, parent=9, start_ms=1)))
    assert store.latest(1)[0].root.name == "span 4"


def test_spans_of_other_traces_that_link_here_are_found() -> None:
    store = TraceStore()
    store.add(request(span(1, 1), span(2, 1)))
    store.add(request(span(3, 7, name="batch", links=[(1, 1), (2, 1)]), service="inference"))
    (first,) = store.find(trace_id(1).hex())
    assert [record.name for record in store.linking_to(first)] == ["batch"]
    (batch,) = store.find(trace_id(3).hex())
    assert store.linking_to(batch) == []


@pytest.mark.parametrize("garbage", [b"\xff" * 50, b"\x0a\xff\xff\xff\x7f", b"not protobuf"])
def test_bytes_that_are_no_request_are_ignored(garbage: bytes) -> None:
    store = TraceStore()
    store.add(garbage)
    assert len(store) == 0


@given(st.binary(max_size=200))
def test_no_bytes_break_it(raw: bytes) -> None:
    store = TraceStore()
    store.add(raw)
    for trace in store.latest(10):
        assert trace.start <= trace.end
