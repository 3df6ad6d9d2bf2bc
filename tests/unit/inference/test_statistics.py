"""The numbers of a model: exact totals, per tenant, size and shape, bounded, and as Prometheus sees them."""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from inference_server import names
from inference_server.exposition import Exposition
from inference_server.statistics import MOST_SHAPES, MOST_TENANTS, BatchRecord, ModelStatistics, Spread, Tally
from inference_server.tenant_labels import MOST_LABELS, REVIEW_SECONDS, Shown, TenantLabels


def record(waits: Sequence[float], compute: float = 0.5, *, tenant: str = "t", failed: int = 0) -> BatchRecord:
    return BatchRecord(0, "shape", waits, compute, 1_000, failed, {tenant: len(waits)}, ())


def best(sizes: dict[str, int]) -> Callable[[Hashable], int | None]:
    return lambda bucket: sizes.get(str(bucket))


@pytest.fixture
def tally() -> Tally:
    return Tally("m@1")


@pytest.fixture
def page() -> tuple[Exposition, CollectorRegistry]:
    registry, exposition = CollectorRegistry(), Exposition()
    registry.register(exposition)
    return exposition, registry


def test_a_batch_counts_its_items_times_and_size(tally: Tally) -> None:
    tally.batch(record([0.001, 0.2, 99.0], 0.03, failed=1))
    tally.batch(record([0.0], 0.5))
    had = tally.statistics()
    assert (had.items["done"], had.items["failed"], had.batches, had.failed_batches) == (3, 1, 2, 0)
    assert (had.queue_ns, had.compute_ns) == (99_201_000_000, 590_000_000)
    assert had.compute.seconds == pytest.approx(0.53)
    assert [(one.size, one.batches, one.seconds) for one in had.sizes] == [(1, 1, 0.5), (3, 1, 0.03)]
    assert [(one.bucket, one.batches, one.items) for one in had.shapes] == [("shape", 2, 4)]
    assert had.last_batch_ns == 1_000


def test_a_wait_on_a_bound_counts_below_it_as_prometheus_does(tally: Tally) -> None:
    tally.batch(record([0.001, 0.0011, 31.0]))
    had = tally.statistics().queue
    by_bound = dict(zip((*had.bounds, "longer"), had.counts, strict=True))
    assert (by_bound[0.001], by_bound[0.0025], by_bound["longer"], had.count) == (1, 1, 1, 3)


def test_a_batch_that_failed_whole_is_counted(tally: Tally) -> None:
    tally.batch(record([0.0, 0.0], failed=2))
    assert tally.statistics().failed_batches == 1


def test_what_never_ran_is_counted_by_how_it_ended_and_whose_it_was(tally: Tally) -> None:
    tally.ended(names.EXPIRED, "a", 3)
    tally.ended(names.CANCELLED, "b", 1)
    tally.refused("queue_full", "a", 5)
    tally.refused("queue_full", "b", 1)
    tally.refused("too_late", "a", 1)
    had = tally.statistics()
    assert had.items == {"done": 0, "failed": 0, "expired": 3, "displaced": 0, "cancelled": 1}
    assert (had.refusals, had.refused_items) == ({"queue_full": 2, "too_late": 1}, 7)
    by_tenant = {one.tenant: one.items for one in had.tenants}
    assert (by_tenant["a"]["expired"], by_tenant["a"]["refused"], by_tenant["b"]["cancelled"]) == (3, 6, 1)
    assert had.queue.count == 0


def test_tenants_share_the_time_of_a_batch_by_their_items(tally: Tally) -> None:
    mixed = BatchRecord(0, "s", [1.0, 2.0, 3.0], 0.6, 1, 1, {"a": 2, "b": 1}, (), {"a": 3.0, "b": 3.0}, {"b": 1})
    tally.batch(mixed)
    a, b = tally.statistics().tenants
    assert [a.compute_seconds, b.compute_seconds] == pytest.approx([0.4, 0.2])
    assert (a.queue_seconds, b.queue_seconds) == (3.0, 3.0)
    assert (a.items["done"], a.items["failed"], b.items["done"], b.items["failed"]) == (2, 0, 0, 1)


def test_tenants_beyond_the_bound_are_forgotten_by_name_only(tally: Tally) -> None:
    for number in range(MOST_TENANTS):
        tally.ended(names.EXPIRED, f"t{number}", 1)
    tally.ended(names.EXPIRED, "t0", 1)  # used again: not the one that was quiet longest
    tally.ended(names.EXPIRED, "new", 1)
    had = tally.statistics()
    kept = {one.tenant for one in had.tenants}
    assert len(kept) == MOST_TENANTS
    assert {"t0", "new"} <= kept
    assert "t1" not in kept
    assert had.forgotten_tenants.items["expired"] == 1
    assert sum(one.total for one in had.tenants) + had.forgotten_tenants.total == MOST_TENANTS + 2


def test_shapes_are_bounded(tally: Tally) -> None:
    for number in range(MOST_SHAPES + 10):
        tally.batch(BatchRecord(0, number, [0.0], 0.1, 1, 0, {"t": 1}, ()))
    had = tally.statistics()
    assert len(had.shapes) == MOST_SHAPES
    assert had.batches == MOST_SHAPES + 10


def test_the_best_size_is_that_of_the_busiest_shape(tally: Tally) -> None:
    assert tally.best_size() == 0
    tally.best = best({"wide": 8, "tall": 2})
    assert tally.best_size() == 0
    tally.batch(BatchRecord(0, "tall", [0.0], 0.1, 1, 0, {"t": 1}, ()))
    tally.batch(BatchRecord(0, "wide", [0.0, 0.0], 0.1, 1, 0, {"t": 2}, ()))
    assert (tally.best_size(), tally.best_size("tall"), tally.best_size("other")) == (8, 2, 0)


def test_quantiles_are_interpolated_within_their_bucket() -> None:
    spread = Spread((1.0, 2.0, 4.0), (0, 10, 10, 0), 50.0, 4.0)
    assert spread.quantile(0.25) == pytest.approx(1.5)
    assert spread.quantile(0.5) == pytest.approx(2.0)
    assert spread.quantile(0.75) == pytest.approx(3.0)
    assert Spread((1.0,), (0, 0), 0.0, 0.0).quantile(0.5) == 0.0
    assert Spread((1.0, 2.0), (0, 0, 5), 50.0, 12.0).quantile(0.5) == 7.0


def test_no_quantile_lies_beyond_the_longest() -> None:
    assert Spread((1.0, 10.0), (0, 1, 0), 1.1, 1.1).quantile(0.99) == pytest.approx(1.1, abs=0.01)


_BATCHES = st.lists(
    st.tuples(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.floats(0.0001, 50), st.sampled_from("abc")),
    max_size=20,
)


@given(_BATCHES)
def test_totals_and_parts_agree(batches: list[tuple[list[float], float, str]]) -> None:
    tally = Tally("m@1")
    for waits, compute, tenant in batches:
        tally.batch(record(waits, compute, tenant=tenant, failed=len(waits) // 3))
    had = tally.statistics()
    ran = had.items["done"] + had.items["failed"]
    assert ran == sum(len(waits) for waits, _, _ in batches) == had.queue.count
    assert ran == sum(one.size * one.batches for one in had.sizes) == sum(one.items for one in had.shapes)
    assert ran == sum(one.total for one in had.tenants)
    assert had.batches == len(batches) == had.compute.count
    assert sum(one.compute_seconds for one in had.tenants) == pytest.approx(had.compute.seconds)
    assert sum(one.queue_seconds for one in had.tenants) == pytest.approx(had.queue.seconds)


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(name, {"model": "m@1", **labels}) or 0.0


def test_the_page_shows_what_was_counted(page: tuple[Exposition, CollectorRegistry], tally: Tally) -> None:
    exposition, registry = page
    exposition.add(tally)
    tally.batch(record([0.002] * 3, 0.03, failed=3))
    tally.refused("queue_full", "t", 2)
    tally.ended(names.DISPLACED, "t", 1)
    tally.best = best({"shape": 16})
    tally.waiting_items, tally.waiting_bytes = 7, 700
    assert sample(registry, "inference_items_total", outcome="failed") == 3
    assert sample(registry, "inference_items_total", outcome="displaced") == 1
    assert sample(registry, "inference_batch_failures_total") == 1
    assert sample(registry, "inference_refusals_total", reason="queue_full") == 1
    assert sample(registry, "inference_queue_seconds_bucket", le="0.001") == 0
    assert sample(registry, "inference_queue_seconds_bucket", le="0.0025") == 3
    assert sample(registry, "inference_queue_seconds_count") == 3
    assert sample(registry, "inference_compute_seconds_sum") == pytest.approx(0.03)
    assert sample(registry, "inference_batch_items_bucket", le="2.0") == 0
    assert sample(registry, "inference_batch_items_bucket", le="4.0") == 1
    assert sample(registry, "inference_batch_items_sum") == 3
    assert sample(registry, "inference_best_batch_items") == 16
    assert (sample(registry, "inference_waiting_items"), sample(registry, "inference_waiting_bytes")) == (7, 700)
    assert sample(registry, "inference_tenant_items_total", tenant="t", outcome="refused") == 2
    assert sample(registry, "inference_tenant_compute_seconds_total", tenant="t") == pytest.approx(0.03)


def test_counters_outlive_a_model_that_is_loaded_anew(page: tuple[Exposition, CollectorRegistry]) -> None:
    exposition, registry = page
    for _ in range(3):
        tally = Tally("m@1")
        exposition.add(tally)
        tally.batch(record([0.002, 0.002]))
        tally.waiting_items = 5
        tally.close()
    exposition.add(living := Tally("m@1"))
    living.batch(record([0.002]))
    living.waiting_items = 2
    for _ in range(2):
        assert sample(registry, "inference_items_total", outcome="done") == 7
        assert sample(registry, "inference_batch_items_sum") == 7
        assert sample(registry, "inference_tenant_items_total", tenant="t", outcome="done") == 7
        assert sample(registry, "inference_waiting_items") == 2
    assert living.statistics().items["done"] == 1


def test_what_is_counted_a_moment_after_the_end_is_counted_too() -> None:
    clock = [time.monotonic()]
    registry, exposition = CollectorRegistry(), Exposition(lambda: clock[0])
    registry.register(exposition)
    exposition.add(tally := Tally("m@1"))
    tally.close()
    assert sample(registry, "inference_items_total", outcome="done") == 0
    tally.batch(record([0.002]))
    clock[0] += 60.0
    for _ in range(2):
        assert sample(registry, "inference_items_total", outcome="done") == 1


def test_readiness_comes_from_whoever_knows(page: tuple[Exposition, CollectorRegistry]) -> None:
    exposition, registry = page
    exposition.watch(lambda: {"m@1": True, "n@1": False})
    assert sample(registry, "inference_model_ready") == 1
    assert registry.get_sample_value("inference_model_ready", {"model": "n@1"}) == 0
    exposition.watch(None)
    assert registry.get_sample_value("inference_model_ready", {"model": "n@1"}) is None


def totals(shown: Sequence[Shown]) -> dict[str, float]:
    return {tenant: sum(items.values()) for tenant, items, _ in shown}


def test_only_so_many_tenants_have_a_label(tally: Tally) -> None:
    labels = TenantLabels()
    for number in range(MOST_LABELS + 5):
        tally.ended(names.EXPIRED, f"t{number}", 1)
    shown = totals(labels.shown([tally], 0.0))
    assert len(shown) == MOST_LABELS + 1
    assert shown["other"] == 5


def test_who_becomes_busy_gets_the_label_of_one_who_is_quiet_and_nothing_shrinks(tally: Tally) -> None:
    labels = TenantLabels()
    for number in range(MOST_LABELS + 1):
        tally.ended(names.EXPIRED, f"t{number}", 1)
    before = totals(labels.shown([tally], 0.0))
    late = f"t{MOST_LABELS}"
    assert late not in before
    tally.ended(names.EXPIRED, late, 100)
    for number in range(1, MOST_LABELS):
        tally.ended(names.EXPIRED, f"t{number}", 2)
    between = totals(labels.shown([tally], REVIEW_SECONDS / 2))
    assert (late in between, between["other"]) == (False, 101)
    after = totals(labels.shown([tally], REVIEW_SECONDS + 1))
    assert "t0" not in after
    assert after["other"] == 101
    tally.ended(names.EXPIRED, late, 10)
    assert totals(labels.shown([tally], REVIEW_SECONDS + 2))[late] == 10


def test_work_of_nobody_counts_as_others(tally: Tally) -> None:
    tally.ended(names.EXPIRED, "", 2)
    tally.ended(names.EXPIRED, names.OTHER_TENANTS, 3)
    assert totals(TenantLabels().shown([tally], 0.0)) == {"other": 5}


_EVENTS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 5), st.booleans()), max_size=120)


@given(_EVENTS)
def test_others_never_shrink_and_no_item_is_shown_twice(events: list[tuple[int, int, bool]]) -> None:
    tally, labels, clock = Tally("m@1"), TenantLabels(), count(0.0, REVIEW_SECONDS / 3)
    seen: dict[str, float] = {}
    for tenant, items, look in events:
        tally.ended(names.EXPIRED, f"t{tenant}", items)
        if look:
            shown = totals(labels.shown([tally], next(clock)))
            assert len(shown) <= MOST_LABELS + 1
            assert shown.get("other", 0.0) >= seen.get("other", 0.0)
            assert sum(shown.values()) <= tally.items["expired"]
            seen = shown


def test_statistics_are_a_copy(tally: Tally) -> None:
    before: ModelStatistics = tally.statistics()
    tally.batch(record([0.1]))
    assert (before.batches, before.items["done"], before.queue.count) == (0, 0, 0)


def test_the_page_is_read_while_batches_end(page: tuple[Exposition, CollectorRegistry], tally: Tally) -> None:
    exposition, registry = page
    exposition.add(tally)
    done = threading.Event()
    seen: list[tuple[float, float]] = []

    def read() -> None:
        while not done.is_set():
            items = sample(registry, "inference_items_total", outcome="done")
            seen.append((items, sample(registry, "inference_queue_seconds_count")))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20 * MOST_TENANTS):
        tally.batch(record([0.01], tenant=f"t{number % (2 * MOST_TENANTS)}"))
    done.set()
    reader.join()
    assert seen == sorted(seen)
    assert sample(registry, "inference_items_total", outcome="done") == 20 * MOST_TENANTS
