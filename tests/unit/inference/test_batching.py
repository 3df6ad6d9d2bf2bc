"""The queue's rules one by one: order, room, shares, admission, and what callers are told."""

import time
from math import inf

import pytest

from inference_server.batching import BatchQueue, CostModel, Limits, Priority, Taken, Ticket
from services.kit.errors import CandelaError, DeadlineExceeded, ResourceExhausted
from tests.unit.inference.scheduling.simulator import cause, primed, request


def known(max_batch: int = 4, seconds: float = 1.0) -> CostModel:
    return primed(max_batch, lambda bucket, size: seconds, ["a", "b"], margin=0.0, explore=0.0)


def queue(max_batch: int = 4, *, seconds: float = 1.0, **limits: object) -> BatchQueue[int]:
    return BatchQueue(Limits(max_batch, **{"probe_after": inf, **limits}), known(max_batch, seconds))  # type: ignore[arg-type] # limits by name


def ticket(number: int, deadline: float = inf, **options: object) -> Ticket[int]:
    return Ticket(number, **{"bucket": "a", "size": 1, "arrived": 0.0, "deadline": deadline, **options})  # type: ignore[arg-type] # fields by name


def numbers(taken: Taken[int]) -> list[int]:
    return [one.payload for one in taken.batch]


def refused(waiting: BatchQueue[int], *tickets: Ticket[int], now: float = 0.0) -> CandelaError:
    before = len(waiting), waiting.waiting_bytes
    with pytest.raises(CandelaError) as caught:
        waiting.offer(tickets, now)
    assert (len(waiting), waiting.waiting_bytes) == before, "a refused request leaves nothing behind"
    assert all(one.lane is None for one in tickets)
    return caught.value


def test_an_idle_instance_takes_what_is_there() -> None:
    waiting = queue()
    waiting.offer([ticket(1)], 0.0)
    assert numbers(waiting.take(0, 0.0)) == [1]
    assert not waiting.take(1, 0.0).batch


def test_the_earliest_deadline_goes_first_and_then_who_came_first() -> None:
    waiting = queue(2)
    for number, deadline in enumerate([9.0, 5.0, 9.0, 7.0, inf]):
        waiting.offer([ticket(number, deadline)], 0.0)
    taken = [numbers(waiting.take(0, 0.0)), numbers(waiting.take(0, 1.0)), numbers(waiting.take(0, 2.0))]
    assert taken == [[1, 3], [0, 2], [4]]


def test_the_shape_that_is_due_first_is_served_and_no_shape_waits_for_ever() -> None:
    waiting = queue(2)
    waiting.offer([ticket(0, bucket="b")], 0.0)
    waiting.offer([ticket(1, 30.0)], 0.0)
    waiting.offer([ticket(2, 20.0, bucket="b")], 0.0)
    assert numbers(waiting.take(0, 0.0)) == [2, 0], "who is first brings company of its shape"
    assert numbers(waiting.take(0, 1.0)) == [1]


def test_a_stream_of_hurried_items_leaves_room_for_a_patient_shape() -> None:
    waiting = queue(1)
    waiting.offer([ticket(0, bucket="b")], 0.0)
    served = []
    for second in range(80):
        waiting.offer([ticket(1, second + 30.0, arrived=float(second))], float(second))
        served += numbers(waiting.take(0, float(second)))
    assert 0 in served


def test_priority_is_strict_and_lower_ones_fill_places_that_cost_nothing() -> None:
    waiting = queue(3)
    waiting.offer([ticket(0, priority=Priority.LOW, tenant="x")], 0.0)
    waiting.offer([ticket(1, priority=Priority.NORMAL), ticket(2, priority=Priority.NORMAL)], 0.0)
    waiting.offer([ticket(3, priority=Priority.HIGH)], 0.0)
    assert numbers(waiting.take(0, 0.0)) == [3, 1, 2]
    assert numbers(waiting.take(0, 0.0)) == [0]


def test_lower_priorities_do_not_ride_where_they_cost_time() -> None:
    costs = primed(4, lambda bucket, size: float(size), ["a"], margin=0.0, explore=0.0)
    waiting: BatchQueue[int] = BatchQueue(Limits(4), costs)
    waiting.offer([ticket(0, priority=Priority.LOW)], 0.0)
    waiting.offer([ticket(1, priority=Priority.HIGH)], 0.0)
    assert numbers(waiting.take(0, 0.0)) == [1]


def test_nobody_rides_who_would_make_a_higher_priority_late() -> None:
    costs = primed(4, lambda bucket, size: 1.0 + 0.01 * size, ["a"], margin=0.0, explore=0.0)
    for deadline, together in ((1.015, [1]), (1.025, [1, 0])):
        waiting: BatchQueue[int] = BatchQueue(Limits(4), costs)
        waiting.offer([ticket(0, priority=Priority.LOW)], 0.0)
        waiting.offer([ticket(1, deadline, priority=Priority.HIGH)], 0.0)
        assert numbers(waiting.take(0, 0.0)) == together


def test_tenants_take_turns_by_weight_and_gain_nothing_by_waiting() -> None:
    waiting = queue(4, weights={"b": 3.0})
    waiting.offer([ticket(0, tenant="a") for _ in range(40)], 0.0)
    for turn in range(4):
        waiting.take(0, float(turn))
    waiting.offer([ticket(1, tenant="b") for _ in range(40)], 4.0)
    served = sum(sum(numbers(waiting.take(0, 4.0 + turn))) for turn in range(8))
    assert 24 <= served <= 28, "three of four places, and at most a batch for the time away"


def test_what_cannot_end_in_time_is_refused_with_the_time_it_lacks() -> None:
    waiting = queue(1)
    waiting.offer(request(0.0, 1.0), 0.0)
    waiting.take(0, 0.0)
    waiting.offer(request(0.0, 2.0), 0.0)
    error = refused(waiting, *request(0.0, 2.5))
    assert isinstance(error, ResourceExhausted)
    assert (error.reason, cause(error)) == ("OVERLOADED", "too_late")
    assert error.retry_after == pytest.approx(0.5)
    assert refused(waiting, *request(0.0, 2.5)).retry_after == pytest.approx(0.5), "again, without another look"
    waiting.offer(request(0.0, 3.0), 0.0)


def test_what_never_fits_its_deadline_gets_no_hint() -> None:
    error = refused(queue(1), *request(0.0, 0.5))
    assert cause(error) == "too_late"
    assert error.retry_after is None


def test_nobody_is_made_late_by_an_equal() -> None:
    waiting = queue(1)
    for deadline in (1.0, 2.0, 3.0):
        waiting.offer([ticket(0, deadline)], 0.0)
    assert cause(refused(waiting, ticket(1, 2.5))) == "too_late"
    waiting.offer([ticket(2, 4.0)], 0.0)


def test_a_higher_priority_displaces_at_once_whom_it_makes_late() -> None:
    waiting = queue(1)
    low = [ticket(number, deadline, priority=Priority.LOW) for number, deadline in enumerate([1.0, 2.0, 9.0])]
    for one in low:
        waiting.offer([one], 0.0)
    gone = waiting.offer([ticket(7, 1.5, priority=Priority.HIGH)], 0.0)
    assert [one.ticket for one in gone] == low[:1]
    assert cause(gone[0].error) == "displaced"
    assert [numbers(waiting.take(0, float(turn))) for turn in range(3)] == [[7], [1], [2]]


def test_a_full_queue_makes_room_for_a_higher_priority_only() -> None:
    waiting = queue(4, max_items=4, max_bytes=100)
    low = [ticket(number, priority=Priority.LOW) for number in range(4)]
    waiting.offer(low, 0.0)
    error = refused(waiting, ticket(5, priority=Priority.LOW))
    assert cause(error) == "queue_full"
    assert error.retry_after == pytest.approx(0.25)
    gone = waiting.offer([ticket(6, priority=Priority.NORMAL)], 0.0)
    assert [one.ticket.payload for one in gone] == [3], "the last goes first"
    assert cause(gone[0].error) == "displaced"


def test_bytes_are_bounded_too() -> None:
    waiting = queue(4, max_bytes=10)
    waiting.offer([ticket(0, size=6, priority=Priority.LOW)], 0.0)
    assert cause(refused(waiting, ticket(1, size=5, priority=Priority.LOW))) == "queue_bytes"
    never = refused(waiting, ticket(1, size=11))
    assert (cause(never), never.retry_after) == ("queue_bytes", None)
    gone = waiting.offer([ticket(2, size=5)], 0.0)
    assert [one.ticket.payload for one in gone] == [0]
    assert waiting.waiting_bytes == 5


def test_a_full_queue_is_shared() -> None:
    waiting = queue(4, max_items=20)
    waiting.offer([ticket(0, tenant="heavy") for _ in range(20)], 0.0)
    assert cause(refused(waiting, ticket(1, tenant="light"))) == "queue_full"
    waiting.take(0, 0.0)
    assert cause(refused(waiting, ticket(0, tenant="heavy"))) == "share", "an attempt makes active"
    waiting.offer([ticket(1, tenant="light")], 0.0)


def test_expired_items_never_run() -> None:
    waiting = queue(4, seconds=0.1)
    waiting.offer([ticket(0, 1.0)], 0.0)
    waiting.offer([ticket(1, 9.0)], 0.0)
    taken = waiting.take(0, 2.0)
    assert numbers(taken) == [1]
    assert [(one.ticket.payload, type(one.error)) for one in taken.ended] == [(0, DeadlineExceeded)]
    assert isinstance(refused(waiting, ticket(2, 2.0), now=2.0), DeadlineExceeded)


def test_what_can_no_longer_end_in_time_is_ended_not_run() -> None:
    waiting = queue(1)
    waiting.offer([ticket(0, 5.0)], 0.0)
    waiting.take(0, 0.0)
    waiting.offer([ticket(1, 2.5)], 0.0)
    waiting.finished(0, 2.0)
    taken = waiting.take(0, 2.0)
    assert not taken.batch
    assert [cause(one.error) for one in taken.ended] == ["too_late"]


def test_withdrawn_items_are_gone_and_leave_nothing() -> None:
    waiting = queue(4)
    tickets = [ticket(number, 50.0 + number % 3) for number in range(9)]
    waiting.offer(tickets, 0.0)
    assert waiting.withdraw(tickets[1::2]) == 4
    assert waiting.withdraw(tickets[1::2]) == 0
    assert sorted(one.payload for one in waiting.drop_all()) == [0, 2, 4, 6, 8]
    assert (len(waiting), waiting.waiting_bytes) == (0, 0)


def test_a_wrong_time_does_not_lock_a_model_out() -> None:
    costs = known(1, seconds=30.0)
    waiting: BatchQueue[int] = BatchQueue(Limits(1, probe_after=5.0), costs)
    waiting.offer(request(0.0), 0.0)
    waiting.take(0, 0.0)
    waiting.finished(0, 30.0)
    assert cause(refused(waiting, ticket(1, 32.0), now=31.0)) == "too_late"
    for turn in range(4):
        now = 40.0 + 10 * turn
        waiting.offer([ticket(2, now + 1.0, arrived=now)], now)
        assert numbers(waiting.take(0, now)) == [2]
        waiting.finished(0, now + 0.1)
    assert costs.seconds("a", 1) == pytest.approx(0.1)
    waiting.offer([ticket(3, 72.0)], 71.0)


def test_a_failed_batch_teaches_nothing() -> None:
    waiting = queue(1)
    waiting.offer(request(0.0), 0.0)
    waiting.take(0, 0.0)
    waiting.finished(0, 0.001, ok=False)
    waiting.finished(0, 0.001)
    assert waiting.costs.snapshot()["a"].samples == {1: 3}


def test_state_is_bounded_whatever_tenants_and_shapes_come() -> None:
    waiting = queue(4)
    for number in range(20_000):
        one = ticket(0, number + 9.0, tenant=f"tenant-{number}", bucket=f"shape-{number}")
        waiting.offer([one], number * 1e-3)
        waiting.withdraw([one])
    level = waiting._store.levels[Priority.NORMAL]
    assert len(level.flows) <= 2000
    assert not level.shapes
    assert not level.active


def test_the_hot_path_is_cheap() -> None:
    """Thirty-two items a batch with deadlines: far below what a request may cost, on a machine that does other work."""
    waiting = queue(32, seconds=0.005)
    items, now, best = 0, 0.0, inf
    for _ in range(5):
        items, begun = 0, time.process_time()
        for _ in range(60):
            for _ in range(64 - len(waiting)):
                waiting.offer((Ticket(0, "a", 1024, now, now + 1.0),), now)
                items += 1
            waiting.take(0, now)
            now += 0.005
            waiting.finished(0, now)
        best = min(best, (time.process_time() - begun) / items)
    assert best < 50e-6, "measured: 2.5 µs"
