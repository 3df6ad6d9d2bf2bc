"""The engine: order, single bad items, refusals, drain, spans and numbers."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from inference_server import names
from inference_server.engine import Item, Submission, Work
from observability.telemetry import Telemetry
from services.kit.clock import ManualClock
from services.kit.errors import (
    CandelaError,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from tests.support.eventually import eventually
from tests.unit.inference.engines import (
    Start,
    answers,
    ask,
    clock,
    exporter,
    items,
    metric,
    running,
    start,
    telemetry,
)
from tests.unit.inference.scripted import Scripted

__all__ = ["clock", "exporter", "start", "telemetry"]


async def test_results_come_in_the_order_of_the_items(start: Start) -> None:
    values = list(range(20, 80))
    assert await answers(start(Scripted(instances=3)), *values) == [2 * value for value in values]


async def test_concurrent_requests_share_batches_and_keep_their_own_results(start: Start) -> None:
    model = Scripted(max_batch=8, instances=2)
    engine = start(model, max_items=1000)
    results = await asyncio.gather(*(answers(engine, *range(n, n + 6)) for n in range(100, 140)))
    assert results == [[2 * value for value in range(n, n + 6)] for n in range(100, 140)]
    assert all(len({value % 2 for value in batch}) == 1 for batch in model.batches), "one shape a batch"
    assert max(len(batch) for batch in model.batches) == 8


async def test_a_bad_item_fails_alone(start: Start) -> None:
    first, bad, shapeless, confusing, last = await answers(start(Scripted()), 2, -4, 99, 98, 6)
    assert (first, last) == (4, 12)
    assert isinstance(bad, InvalidArgument)
    assert isinstance(shapeless, InvalidArgument)
    assert isinstance(confusing, Internal)
    assert confusing.reason == "MODEL_FAILED"


async def test_an_error_among_the_items_stays_in_its_place(start: Start) -> None:
    engine = start(Scripted())
    known = InvalidArgument("known before")
    assert await engine.answers([known, Item(2, 1), known], Work()) == [known, 4, known]
    assert await engine.answers([known], Work()) == [known]
    assert await engine.answers([], Work()) == []


async def test_results_never_come_inside_submit_and_only_once(start: Start) -> None:
    """Twenty times: from some time on the model has shown to be fast enough to run on the loop."""
    model = Scripted()
    engine = start(model)
    inside = False
    deliveries: list[list[int | CandelaError]] = []

    def done(results: list[int | CandelaError]) -> None:
        assert not inside
        deliveries.append(results)

    for turn in range(1, 21):
        inside = True
        submissions = [engine.submit(items(2), Work(), done), engine.submit([], Work(), done)]
        inside = False
        await eventually(partial(_has, deliveries, 2 * turn))
        for submission in submissions:
            submission.cancel()
    await answers(engine, 4)
    assert len(deliveries) == 40


def _has(deliveries: Sequence[object], count: int) -> bool:
    return len(deliveries) >= count


async def test_a_receiver_that_fails_costs_nobody_else_anything(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    engine = start(Scripted())

    def fails(_: list[int | CandelaError]) -> None:
        raise RuntimeError("the receiver is broken")

    engine.submit(items(2), Work(), fails)
    engine.submit([], Work(), fails)
    assert await answers(engine, 4) == [8]
    assert caplog.text.count("could not be handed over") == 2


async def test_many_requests_are_let_in_or_refused_one_by_one(start: Start, clock: ManualClock) -> None:
    model = Scripted(held=True)
    engine = start(model, max_items=4)
    held = ask(engine, 2)
    await running(model)
    deliveries: list[Any] = []
    late = Work(deadline=clock.monotonic())
    outcomes = engine.submit_many(
        [
            (items(4, 6), Work(), deliveries.append),
            (items(8, 10, 12), Work(), deliveries.append),
            (items(14), late, deliveries.append),
            ([InvalidArgument("bad")], Work(), deliveries.append),
            (items(16, 18), Work(), deliveries.append),
        ]
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Submission, ResourceExhausted, DeadlineExceeded, Submission, Submission]
    model.release(3)
    await eventually(lambda: len(deliveries) == 3)
    assert [result for result in deliveries if result[0] in (8, 32)] == [[8, 12], [32, 36]]
    assert await held.results() == [4]


async def test_a_full_queue_refuses_and_says_when_to_come_back(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model, max_items=4)
    held = ask(engine, 2)
    await running(model)
    waiting = ask(engine, 4, 6, 8, 10)
    with pytest.raises(ResourceExhausted) as refusal:
        ask(engine, 12, work=Work(tenant="acme"))
    assert refusal.value.reason == "OVERLOADED"
    assert refusal.value.retry_after
    assert engine.waiting == 4
    assert metric(engine, "inference_waiting_items") == 4
    assert engine.reporter.statistics().refused_items == 1
    model.release(3)
    assert await held.results() == [4]
    assert await waiting.results() == [8, 12, 16, 20]
    assert await answers(engine, 12) == [24]


async def test_the_queue_is_bounded_in_bytes(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model, max_bytes=100)
    ask(engine, 2)
    await running(model)
    ask(engine, 4, size=60)
    with pytest.raises(ResourceExhausted):
        ask(engine, 6, size=60)


async def test_closing_finishes_what_was_accepted_and_takes_no_more(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model)
    accepted = ask(engine, 2, 3, 4)
    closing = asyncio.ensure_future(engine.close(10.0))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refusal:
        ask(engine, 6)
    assert refusal.value.retry_after
    assert not engine.ready
    model.release(10)
    await closing
    assert accepted.deliveries == [[4, 6, 8]]
    assert model.closed
    assert engine.reporter.statistics().refusals == {"stopping": 1}


async def test_what_cannot_finish_in_time_fails_with_unavailable(start: Start) -> None:
    model = Scripted(held=True)
    engine = start(model)
    running_late = ask(engine, 2)
    await running(model)
    stranded = ask(engine, 4)
    closing = asyncio.ensure_future(engine.close(0.01))
    for asked in (running_late, stranded):
        (result,) = await asked.results()
        assert isinstance(result, Unavailable)
    model.release()
    await closing
    assert [len(asked.deliveries) for asked in (running_late, stranded)] == [1, 1]
    assert model.batches == [[2]]


async def test_one_span_a_batch_links_all_its_requests(
    start: Start, telemetry: Telemetry, exporter: InMemorySpanExporter, clock: ManualClock
) -> None:
    model = Scripted(held=True)
    engine = start(model)
    ask(engine, 1)
    await running(model)
    requests = [telemetry.tracer.start_span(f"request {n}").get_span_context() for n in range(2)]
    asked = [ask(engine, 2, 4, work=Work(span=request, tenant="acme")) for request in requests]
    clock.advance(0.25)
    model.release(2)
    for one in asked:
        await one.results()
    (batch,) = await eventually(exporter.get_finished_spans)
    assert isinstance(batch, ReadableSpan)
    assert batch.name == names.BATCH_SPAN
    assert [link.context.span_id for link in batch.links] == [request.span_id for request in requests]
    found = dict(batch.attributes or {})
    assert (found[names.BATCH_SIZE], found[names.QUEUE_MS], found[names.FAILED_ITEMS]) == (4, 250.0, 0)


async def test_the_numbers_add_up(start: Start, clock: ManualClock) -> None:
    model = Scripted(held=True)
    engine = start(model)
    first = ask(engine, 2)
    await running(model)
    second = ask(engine, 4, -6, work=Work(tenant="acme"))
    third = ask(engine, 8, work=Work(tenant="bolt"))
    clock.advance(2.0)
    model.release(2)
    for asked in (first, second, third):
        await asked.results()
    found = await eventually(lambda: (one := engine.reporter.statistics()).batches == 2 and one)
    assert found
    assert (found.items[names.DONE], found.items[names.FAILED]) == (3, 1)
    tenants = {one.tenant: (one.items[names.DONE], one.items[names.FAILED], one.queue_seconds) for one in found.tenants}
    assert tenants == {"": (1, 0, 0.0), "acme": (1, 1, 4.0), "bolt": (1, 0, 2.0)}
    assert metric(engine, "inference_queue_seconds_sum") == pytest.approx(6.0)
    assert metric(engine, "inference_compute_seconds_sum") == pytest.approx(2.0)
    assert metric(engine, "inference_waiting_items") == 0
