"""The reporter of a model: counters under its name, and a span for a batch with a sampled request in it."""

import gc
from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, StatusCode, TraceFlags
from prometheus_client import REGISTRY

from inference_server import names
from inference_server.models.model import ModelCard
from inference_server.reporting import BatchRecord, Reporter
from observability.telemetry import Telemetry, start_telemetry

SAMPLED, NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)
BEGAN_NS = 1_700_000_000_000_000_000


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(exporter: InMemorySpanExporter) -> Iterator[Telemetry]:
    telemetry = start_telemetry("inference", processors=[SimpleSpanProcessor(exporter)])
    yield telemetry
    telemetry.close()


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(f"model-{uuid4()}", "1", 8, 2)


@pytest.fixture
def reporter(card: ModelCard, telemetry: Telemetry) -> Reporter:
    return Reporter(card, telemetry.tracer)


def request(number: int, flags: TraceFlags) -> SpanContext:
    return SpanContext(trace_id=1000 + number, span_id=number, is_remote=False, trace_flags=flags)


def batch(spans: Sequence[SpanContext], *, failed: int = 0) -> BatchRecord:
    waits = [0.25 / (place + 1) for place, _ in enumerate(spans)]
    return BatchRecord(1, (3, 96), waits, 0.5, BEGAN_NS, failed, {"a": len(spans)}, spans)


def metric(card: ModelCard, name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"model": card.identity, **labels}) or 0.0


def test_the_span_is_a_child_of_the_first_sampled_request_with_a_link_to_each(
    reporter: Reporter, exporter: InMemorySpanExporter, card: ModelCard
) -> None:
    reporter.ask_best(lambda shape: 24 if shape == (3, 96) else None)
    first, second, unsampled = request(1, SAMPLED), request(2, SAMPLED), request(3, NOT_SAMPLED)
    reporter.batch(batch([INVALID_SPAN_CONTEXT, unsampled, first, first, second, unsampled]))
    [span] = exporter.get_finished_spans()
    assert span.name == names.BATCH_SPAN
    assert span.parent is not None
    assert (span.parent.span_id, span.parent.trace_id) == (first.span_id, first.trace_id)
    assert [link.context for link in span.links] == [first, second]
    assert (span.start_time, span.end_time) == (BEGAN_NS, BEGAN_NS + 500_000_000)
    assert span.attributes == {
        names.MODEL: card.identity, names.BATCH_SIZE: 6, names.FAILED_ITEMS: 0, names.QUEUE_MS: 250.0,
        names.COMPUTE_MS: 500.0, names.SHAPE: "(3, 96)", names.TENANTS: 1, names.INSTANCE: 1, names.BEST_SIZE: 24,
    }  # fmt: skip
    assert span.status.status_code is StatusCode.UNSET


def test_nothing_is_recorded_when_no_request_is_sampled(reporter: Reporter, exporter: InMemorySpanExporter) -> None:
    reporter.batch(batch([INVALID_SPAN_CONTEXT, request(1, NOT_SAMPLED)], failed=2))
    assert not exporter.get_finished_spans()
    assert reporter.statistics().batches == 1


def test_a_batch_that_failed_whole_has_a_failed_span(reporter: Reporter, exporter: InMemorySpanExporter) -> None:
    for failed in (1, 2):
        reporter.batch(batch([request(1, SAMPLED)] * 2, failed=failed))
    partly, whole = exporter.get_finished_spans()
    assert (partly.status.status_code, whole.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)


def test_counters_appear_under_the_models_name(reporter: Reporter, card: ModelCard) -> None:
    reporter.batch(batch([INVALID_SPAN_CONTEXT] * 3, failed=1))
    reporter.ended(names.EXPIRED, "a", 2)
    reporter.ended(names.CANCELLED, "a", 0)
    reporter.refused("queue_full", "a", 4)
    reporter.waiting(5, 50)
    assert metric(card, "inference_items_total", outcome="done") == 2
    assert metric(card, "inference_items_total", outcome="failed") == 1
    assert metric(card, "inference_items_total", outcome="expired") == 2
    assert metric(card, "inference_refusals_total", reason="queue_full") == 1
    assert (metric(card, "inference_waiting_items"), metric(card, "inference_waiting_bytes")) == (5, 50)
    had = reporter.statistics()
    assert (had.items["done"], had.waiting_items, had.refused_items) == (2, 5, 4)


@pytest.mark.parametrize("closed", [True, False])
def test_what_a_model_counted_stays_when_it_is_gone_and_nothing_waits_for_it(
    card: ModelCard, telemetry: Telemetry, closed: bool
) -> None:
    reporter = Reporter(card, telemetry.tracer)
    reporter.ask_best(lambda _: 4)
    reporter.batch(batch([INVALID_SPAN_CONTEXT]))
    reporter.waiting(5, 50)
    assert metric(card, "inference_best_batch_items") == 4
    if closed:
        reporter.close()
    del reporter
    gc.collect()
    assert metric(card, "inference_items_total", outcome="done") == 1
    assert metric(card, "inference_waiting_items") == 0
    assert metric(card, "inference_best_batch_items") == 0
