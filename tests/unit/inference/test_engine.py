"""The engine: order, single bad items, refusals, cancellation, deadlines, drain, spans and numbers."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN_CONTEXT
from prometheus_client import REGISTRY

from inference_server import names
from inference_server.engine import Engine, Item
from inference_server.models.model import ModelCard
from observability.telemetry import Telemetry, start_telemetry
from services.kit.clock import ManualClock
from services.kit.errors import (
    CandelaError,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from tests.support.eventually import eventually_sync
from tests.unit.inference.scripted import Scripted

NOWHERE = INVALID_SPAN_CONTEXT
Start = Callable[..., Engine[int, int]]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(exporter: InMemorySpanExporter) -> Iterator[Telemetry]:
    telemetry = start_telemetry("inference", processors=[SimpleSpanProcessor(exporter)])
    yield telemetry
    telemetry.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def start(telemetry: Telemetry, clock: ManualClock) -> Iterator[Start]:
    engines: list[tuple[Scripted, Engine[int, int]]] = []

    def started(model: Scripted, *, max_items: int = 100, max_bytes: int = 1000) -> Engine[int, int]:
        model.card = ModelCard(f"scripted-{uuid4()}", "1", model.card.max_batch, model.card.instances)
        engine: Engine[int, int] = Engine(model, clock, telemetry.tracer, max_items=max_items, max_bytes=max_bytes)
        engine.start()
        engines.append((model, engine))
        return engine

    yield started
    for model, engine in engines:
        model.release(100)
        engine.close(5.0)


def items(*values: int, size: int = 1) -> list[Item[int] | CandelaError]:
    return [Item(value, size) for value in values]


def answers(engine: Engine[int, int], *values: int) -> Sequence[int | CandelaError]:
    return engine.submit(items(*values), NOWHERE).future.result(timeout=10.0)


def metric(engine: Engine[int, int], name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"model": engine.card.identity, **labels}) or 0.0


def test_results_come_in_the_order_of_the_items(start: Start) -> None:
    engine = start(Scripted(instances=3))
    values = list(range(20, 80))
    assert answers(engine, *values) == [2 * value for value in values]


def test_concurrent_requests_share_batches_and_keep_their_own_results(start: Start) -> None:
    model = Scripted(max_batch=8, instances=2)
    engine = start(model)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: answers(engine, *range(n, n + 6)), range(100, 140)))
    assert results == [[2 * value for value in range(n, n + 6)] for n in range(100, 140)]
    assert all(len({value % 2 for value in batch}) == 1 for batch in model.batches), "one shape a batch"


def test_a_bad_item_fails_alone(start: Start) -> None:
    first, bad, shapeless, last = answers(start(Scripted()), 2, -4, 99, 6)
    assert (first, last) == (4, 12)
    assert isinstance(bad, InvalidArgument)
    assert isinstance(shapeless, InvalidArgument)


def test_an_error_among_the_items_stays_in_its_place(start: Start) -> None:
    engine = start(Scripted())
    known = InvalidArgument("known before")
    submission = engine.submit([known, Item(2, 1), known], NOWHERE)
    assert submission.future.result(timeout=10.0) == [known, 4, known]
    assert engine.submit([known], NOWHERE).future.result(timeout=10.0) == [known]
    assert engine.submit([], NOWHERE).future.result(timeout=10.0) == []


def test_an_exception_fails_the_batch_and_not_the_process(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    engine = start(Scripted())
    for failure in answers(engine, 13, 15):
        assert isinstance(failure, Internal)
        assert failure.reason == "MODEL_FAILED"
        assert "thirteen" not in failure.message, "what went wrong inside is for the log"
    assert "thirteen" in caplog.text
    assert answers(engine, 1) == [2]


def test_a_model_that_loses_items_is_found_out(start: Start) -> None:
    class Forgetful(Scripted):
        def run(self, batch: Sequence[int]) -> list[int | CandelaError]:
            return super().run(batch)[1:]

    (failure,) = answers(start(Forgetful()), 2)
    assert isinstance(failure, Internal)


def test_a_full_queue_refuses_and_says_when_to_come_back(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model, max_items=4)
    running = engine.submit(items(2), NOWHERE)
    model.wait_for_batch()
    waiting = engine.submit(items(4, 6, 8, 10), NOWHERE)
    with pytest.raises(ResourceExhausted) as refusal:
        engine.submit(items(12), NOWHERE)
    assert refusal.value.reason == "OVERLOADED"
    assert refusal.value.retry_after
    assert metric(engine, "inference_refusals_total", reason="overloaded") == 1
    assert metric(engine, "inference_waiting_items") == 4
    model.release(2)
    assert running.future.result(timeout=10.0) == [4]
    assert waiting.future.result(timeout=10.0) == [8, 12, 16, 20]
    assert answers_after_release(engine, model) == [24]


def answers_after_release(engine: Engine[int, int], model: Scripted) -> Sequence[int | CandelaError]:
    model.release()
    return answers(engine, 12)


def test_the_queue_is_bounded_in_bytes(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model, max_bytes=100)
    engine.submit(items(2), NOWHERE)
    model.wait_for_batch()
    engine.submit(items(4, size=60), NOWHERE)
    with pytest.raises(ResourceExhausted):
        engine.submit(items(6, size=60), NOWHERE)


def test_cancelled_items_never_run(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model)
    engine.submit(items(2), NOWHERE)
    model.wait_for_batch()
    unwanted, wanted = engine.submit(items(4, 6), NOWHERE), engine.submit(items(8), NOWHERE)
    unwanted.cancel()
    unwanted.cancel()
    assert metric(engine, "inference_items_total", outcome="cancelled") == 2
    model.release(2)
    assert wanted.future.result(timeout=10.0) == [16]
    assert model.batches == [[2], [8]]


def test_cancelling_what_runs_drops_its_results_only(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model)
    gone = engine.submit(items(2), NOWHERE)
    model.wait_for_batch()
    gone.cancel()
    model.release()
    assert gone.future.cancelled()
    assert answers_after_release(engine, model) == [24]
    assert model.batches == [[2], [12]]


def test_expired_items_never_run(start: Start, clock: ManualClock) -> None:
    model = Scripted(held=True)
    engine = start(model)
    engine.submit(items(2), NOWHERE)
    model.wait_for_batch()
    late = engine.submit(items(4, 6), NOWHERE, deadline=clock.monotonic() + 1.0)
    in_time = engine.submit(items(8), NOWHERE, deadline=clock.monotonic() + 3.0)
    clock.advance(2.0)
    model.release(2)
    assert in_time.future.result(timeout=10.0) == [16]
    assert [type(result) for result in late.future.result(timeout=10.0)] == [DeadlineExceeded] * 2
    assert model.batches == [[2], [8]]
    assert metric(engine, "inference_items_total", outcome="expired") == 2


def test_closing_finishes_what_was_accepted_and_takes_no_more(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model)
    accepted = engine.submit(items(2, 3, 4), NOWHERE)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(engine.close, 10.0)
        eventually_sync(lambda: refuses(engine))
        model.release(10)
        closing.result(timeout=10.0)
    assert accepted.future.result(timeout=0) == [4, 6, 8]
    assert metric(engine, "inference_refusals_total", reason="stopping") >= 1


def refuses(engine: Engine[int, int]) -> bool:
    try:
        engine.submit(items(2), NOWHERE).cancel()
    except Unavailable:
        return True
    return False


def test_what_cannot_finish_in_time_fails_with_unavailable(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model)
    engine.submit(items(2), NOWHERE)
    model.wait_for_batch()
    stranded = engine.submit(items(4), NOWHERE)
    engine.close(0.01)
    (result,) = stranded.future.result(timeout=10.0)
    assert isinstance(result, Unavailable)
    model.release()


def test_one_span_a_batch_links_all_its_requests(
    start: Start, telemetry: Telemetry, exporter: InMemorySpanExporter, clock: ManualClock
) -> None:
    model = Scripted(held=True)
    engine = start(model)
    engine.submit(items(1), NOWHERE)
    model.wait_for_batch()
    requests = [telemetry.tracer.start_span(f"request {n}").get_span_context() for n in range(2)]
    submissions = [engine.submit(items(2, 4), request) for request in requests]
    clock.advance(0.25)
    model.release(2)
    for submission in submissions:
        submission.future.result(timeout=10.0)
    batch: ReadableSpan = eventually_sync(lambda: exporter.get_finished_spans()[1:])[0]
    assert batch.name == "inference.batch"
    assert batch.parent is not None
    assert batch.parent.span_id == requests[0].span_id
    assert [link.context.span_id for link in batch.links] == [request.span_id for request in requests]
    assert dict(batch.attributes or {}) == {
        names.MODEL: engine.card.identity,
        names.BATCH_SIZE: 4,
        names.FAILED_ITEMS: 0,
        names.QUEUE_MS: 250.0,
        names.COMPUTE_MS: 0.0,
    }


def test_the_numbers_add_up(start: Start, clock: ManualClock) -> None:
    model = Scripted(held=True)
    engine = start(model)
    first = engine.submit(items(2), NOWHERE)
    model.wait_for_batch()
    second = engine.submit(items(4, -6), NOWHERE)
    clock.advance(2.0)
    model.release(2)
    first.future.result(timeout=10.0)
    second.future.result(timeout=10.0)
    assert metric(engine, "inference_items_total", outcome="done") == 2
    assert metric(engine, "inference_items_total", outcome="failed") == 1
    assert metric(engine, "inference_batch_items_count") == 2
    assert metric(engine, "inference_batch_items_sum") == 3
    assert metric(engine, "inference_queue_seconds_sum") == pytest.approx(4.0)
    assert metric(engine, "inference_compute_seconds_sum") == pytest.approx(2.0)
    assert metric(engine, "inference_waiting_items") == 0
