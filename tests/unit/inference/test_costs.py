"""The cost model: what it learns, guesses and forgets."""

import math
from random import Random

import pytest

from inference_server.batching import CostModel


def fed(costs: CostModel, size: int, seconds: float, times: int = 1, bucket: str = "a") -> None:
    for _ in range(times):
        costs.observe(bucket, size, seconds)


def test_nothing_is_known_at_first() -> None:
    costs = CostModel(8)
    assert costs.seconds("a", 3) == 0.0
    assert costs.best("a") == 8, "the largest is tried first"
    assert costs.snapshot() == {}


def test_sizes_between_are_interpolated_and_grow() -> None:
    costs = CostModel(16)
    fed(costs, 1, 0.010, 3)
    fed(costs, 16, 0.040, 3)
    guesses = [costs.seconds("a", size) for size in range(1, 17)]
    assert guesses == sorted(guesses)
    assert guesses[7] == pytest.approx(0.024)


def test_the_best_size_is_the_one_with_the_most_items_a_second() -> None:
    costs = CostModel(32)
    for size, seconds in ((1, 0.001), (8, 0.0026), (24, 0.0052), (32, 0.0152)):
        fed(costs, size, seconds, 3)
    assert costs.best("a") == 24


def test_an_outlier_changes_nothing_and_a_change_everything() -> None:
    costs = CostModel(4)
    fed(costs, 1, 0.010, 5)
    fed(costs, 4, 0.020, 5)
    fed(costs, 4, 2.0)
    assert costs.seconds("a", 4) == pytest.approx(0.020)
    fed(costs, 4, 0.020)
    fed(costs, 4, 0.060, 3)
    assert costs.seconds("a", 4) == pytest.approx(0.060)
    assert costs.seconds("a", 1) == pytest.approx(0.030), "what was not measured since changed alike"
    fed(costs, 4, 0.020, 3)
    assert costs.seconds("a", 4) == pytest.approx(0.020), "and back"


def test_a_slow_first_time_is_forgotten() -> None:
    costs = CostModel(1)
    fed(costs, 1, 3.0)
    fed(costs, 1, 0.010)
    assert costs.seconds("a", 1) == pytest.approx(0.010)


def test_a_new_bucket_borrows_what_others_cost() -> None:
    costs = CostModel(8)
    for size in (1, 8):
        fed(costs, size, 0.010 + 0.001 * size, 3)
    assert costs.seconds("new", 8) == pytest.approx(0.018)
    fed(costs, 1, 0.022, bucket="new")
    assert costs.seconds("new", 1) == pytest.approx(0.022)
    assert 0.022 < costs.seconds("new", 8) < 0.08, "twice as much, and the same shape"


def test_the_margin_is_small_and_follows_the_spread() -> None:
    random = Random(1)
    steady, shaky = CostModel(8), CostModel(8)
    for _ in range(200):
        fed(steady, 8, 0.080 + random.uniform(-1, 1) * 1e-4)
        fed(shaky, 8, 0.080 * random.uniform(0.85, 1.15))
    margins = [costs.margin(costs.curve("a"), 0.080) for costs in (steady, shaky)]
    assert margins[0] < 0.004
    assert 0.010 < margins[1] < 0.040


def test_trying_sizes_costs_little() -> None:
    def takes(size: int) -> float:
        return 0.001 * math.pow(size, 0.9)

    costs = CostModel(32, explore=0.01)
    for size in (1, 32):
        fed(costs, size, takes(size), 3)
    items, seconds = 0, 0.0
    for _ in range(20_000):
        curve = costs.curve("a")
        size = curve.explore(64) or curve.first[32]
        fed(costs, size, takes(size))
        items += size
        seconds += takes(size)
    assert set(costs.snapshot()["a"].samples) >= set(range(2, 33, 2)), "every size was tried"
    assert items / seconds >= 0.99 * 32 / takes(32)


def test_sizes_that_cannot_be_better_are_not_tried() -> None:
    costs = CostModel(32)
    random = Random(3)
    fed(costs, 1, 0.005, 3)
    fed(costs, 32, 0.005, 3)
    sizes = set()
    for _ in range(3_000):
        curve = costs.curve("a")
        size = curve.explore(64) or curve.first[32]
        sizes.add(size)
        fed(costs, size, 0.005 * random.uniform(0.99, 1.01))
    assert sizes <= {30, 31, 32}, "a batch takes the same whatever it holds: only full ones are worth it"


def test_a_split_that_is_clearly_faster_is_made() -> None:
    costs = CostModel(8)
    for size, seconds in ((1, 0.001), (4, 0.002), (6, 0.020), (8, 0.003)):
        fed(costs, size, seconds, 3)
    assert costs.best("a") == 8
    assert costs.curve("a").first[6] == 4
    assert costs.curve("a").first[4] == 4


def test_hostile_shapes_do_not_pile_up() -> None:
    costs = CostModel(2)
    fed(costs, 1, 0.5, 3, bucket="used")
    for number in range(2000):
        fed(costs, 1, 0.1, bucket=f"shape-{number}")
        fed(costs, 1, 0.5, bucket="used")
    assert len(costs.snapshot()) <= 512
    assert costs.seconds("used", 1) == pytest.approx(0.5), "what is used stays"


def test_a_size_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 4"):
        CostModel(4).observe("a", 5, 0.1)


def test_a_machine_that_stalls_does_not_make_estimates_grow_from_size_to_size() -> None:
    costs = CostModel(32)
    quick, stalled = 3e-5, 0.01
    for _ in range(5):
        costs.observe("shape", 32, quick)
    for size in (2, 4, 6, 8, 10, 12):
        for _ in range(5):
            costs.observe("shape", size, quick)
        for _ in range(3):
            costs.observe("shape", size, stalled)
    largest = max(costs.snapshot()["shape"].seconds.values())
    assert largest <= 16 * stalled, "no batch took longer than a stall, and no size is more than 16 times another"
