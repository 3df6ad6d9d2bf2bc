"""Open load on simulated time: when requests are due, and what counts of what came of them."""

import itertools
import statistics

import pytest

from tests.bench.inference.accounts import Fate, goodput, in_time, overload, recovery
from tests.bench.inference.poisson import Phase, bounds, schedule

_PHASES = [Phase(50, 2), Phase(200, 6), Phase(50, 2)]


def test_the_same_seed_gives_the_same_times() -> None:
    assert schedule(_PHASES, 1) == schedule(_PHASES, 1)
    assert schedule(_PHASES, 1) != schedule(_PHASES, 2)


def test_times_ascend_and_stay_within_the_phases() -> None:
    times = schedule(_PHASES, 3)
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 10


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_phase_has_its_rate(number: int) -> None:
    phases = [Phase(phase.rate, phase.seconds * 100) for phase in _PHASES]
    begin, end = bounds(phases, number)
    count = sum(1 for one in schedule(phases, 4) if begin <= one < end)
    assert count / (end - begin) == pytest.approx(phases[number].rate, rel=0.05)


def test_intervals_are_exponential_and_not_even() -> None:
    times = schedule([Phase(100, 1000)], 5)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    # The deviation of an exponential distribution is its mean; that of even intervals would be 0.
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.05)


def test_a_phase_without_requests_is_quiet() -> None:
    assert all(1 <= one < 2 for one in schedule([Phase(0, 1), Phase(100, 1), Phase(0, 1)], 6))


@pytest.mark.parametrize(
    ("fate", "counts"),
    [
        (Fate(0, 0.4, "ok"), True),
        (Fate(0, 0.401, "ok"), False),  # a caller whose deadline passed has no use of it
        (Fate(0, 0.1, "refused"), False),
        (Fate(0, 0.1, "failed"), False),
    ],
)
def test_only_answers_within_the_deadline_count(fate: Fate, counts: bool) -> None:
    assert in_time(fate, 0.4) is counts


def test_goodput_counts_answers_when_they_come() -> None:
    fates = [Fate(0.9, 0.2, "ok"), Fate(1.5, 0.1, "ok"), Fate(1.95, 0.1, "ok"), Fate(1.5, 0.5, "ok")]
    assert goodput(fates, 0.4, 1.0, 2.0) == 2.0  # the third came after the end, the last too late


def test_recovery_lasts_until_the_last_bad_request_was_due() -> None:
    fates = [Fate(9, 0.1, "refused"), Fate(10.1, 0.1, "ok"), Fate(10.3, 0.1, "refused"), Fate(10.5, 0.1, "ok")]
    assert recovery(fates, 0.4, 10.0) == pytest.approx(0.3)
    assert recovery(fates[:2], 0.4, 10.0) == 0.0


def test_what_nobody_could_use_is_charged_on_the_overload() -> None:
    fates = [*(Fate(3 + number / 100, 0.1, "ok") for number in range(90)), Fate(5, 0.01, "refused"), Fate(5, 0.5, "ok")]
    seen = overload(fates, 0.4, 2.0, 8.0, executed=100, executed_in_overload=50)
    assert seen.wasted == pytest.approx(10 / 50)
    assert seen.refusals == (0.01,)
    assert seen.failed == 0
    assert seen.recovery == 0


def test_an_overload_without_waste_is_not_negative() -> None:
    # A warm-up that was counted by nobody must not make waste negative.
    assert overload([Fate(1, 0.1, "ok")], 0.4, 0.0, 4.0, executed=0, executed_in_overload=0).wasted == 0
