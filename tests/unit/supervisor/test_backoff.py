"""When a process starts again, told by a clock that tests turn."""

from services.kit.clock import ManualClock
from supervisor.backoff import RestartPolicy


def test_the_first_restart_is_immediate_and_later_ones_wait_longer() -> None:
    policy = RestartPolicy(ManualClock())
    delays = [policy.failed().delay for _ in range(10)]
    assert delays == [0.0, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]


def test_a_process_that_was_well_for_ten_seconds_starts_with_a_clean_slate() -> None:
    clock = ManualClock()
    policy = RestartPolicy(clock)
    for _ in range(4):
        policy.failed()
    policy.ready()
    clock.advance(10.0)
    assert policy.failed().delay == 0.0


def test_a_process_that_dies_right_after_it_was_ready_does_not() -> None:
    clock = ManualClock()
    policy = RestartPolicy(clock)
    policy.failed()
    policy.ready()
    clock.advance(9.9)
    assert policy.failed().delay == 0.2


def test_the_time_before_it_was_ready_does_not_count_as_well() -> None:
    clock = ManualClock()
    policy = RestartPolicy(clock)
    policy.ready()
    policy.failed()
    clock.advance(30.0)
    assert policy.failed().delay == 0.2


def test_many_failures_in_a_minute_are_reported_once_per_burst() -> None:
    clock = ManualClock()
    policy = RestartPolicy(clock)
    assert [policy.failed().report for _ in range(8)] == [False] * 5 + [True, False, False]
    clock.advance(61.0)
    assert [policy.failed().report for _ in range(6)] == [False] * 5 + [True]


def test_failures_more_than_a_minute_apart_are_not_many() -> None:
    clock = ManualClock()
    policy = RestartPolicy(clock)
    for _ in range(20):
        clock.advance(15.0)
        verdict = policy.failed()
        assert not verdict.report
        assert verdict.failures_in_window <= 5
