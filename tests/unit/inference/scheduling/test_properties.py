"""What the scheduler promises, in random scenarios on simulated time."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.inference.scheduling.scenarios import SCENARIOS, Scenario, Watched

QUICK, MANY = 200, 6000
NOISE = st.lists(st.sampled_from([0.6, 0.9, 1.0, 1.0, 1.1, 1.5, 3.0]), min_size=1, max_size=12)
PATIENT = [HealthCheck.too_slow, HealthCheck.data_too_large]


def exact(scenario: Scenario) -> None:
    simulation = Watched(scenario)
    simulation.run()
    simulation.check_everything_ended()
    simulation.check_promises()


def noisy(scenario: Scenario, noise: list[float]) -> None:
    simulation = Watched(scenario, noise)
    simulation.run()
    simulation.check_everything_ended()


@settings(max_examples=QUICK, deadline=None, suppress_health_check=PATIENT)
@given(SCENARIOS)
def test_whoever_is_let_in_is_in_time_or_displaced(scenario: Scenario) -> None:
    exact(scenario)


@settings(max_examples=QUICK, deadline=None, suppress_health_check=PATIENT)
@given(SCENARIOS, NOISE)
def test_nothing_is_lost_whatever_batches_take(scenario: Scenario, noise: list[float]) -> None:
    noisy(scenario, noise)


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(max_examples=MANY, deadline=None, suppress_health_check=PATIENT)
@given(SCENARIOS)
def test_whoever_is_let_in_is_in_time_or_displaced_in_many_scenarios(scenario: Scenario) -> None:
    exact(scenario)


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(max_examples=MANY, deadline=None, suppress_health_check=PATIENT)
@given(SCENARIOS, NOISE)
def test_nothing_is_lost_whatever_batches_take_in_many_scenarios(scenario: Scenario, noise: list[float]) -> None:
    noisy(scenario, noise)
