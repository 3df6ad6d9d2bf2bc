"""The scheduler under the loads it is measured with: overload, tenants, floods, shapes, and batch sizes to find."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import inf
from random import Random

import pytest

from inference_server.batching import CostModel, Limits, Priority, Ticket
from tests.unit.inference.scheduling.simulator import Simulation, cause, primed, request

MAX, SECONDS, DEADLINE = 8, 0.08, 0.4  # the model that sleeps
CAPACITY = MAX / SECONDS


def sleeping(
    phases: Sequence[tuple[float, float]], *, tenants: Mapping[str, tuple[float, float]] | None = None,
    noise: float = 0.0, lifetime: float = DEADLINE,
) -> Simulation:  # fmt: skip
    """Offer `phases` of (rate over capacity, seconds) to the sleeping model; tenants by (weight, part of the load)."""
    random = Random(7)
    people = {"": (1.0, 1.0)} if tenants is None else tenants
    limits = Limits(
        MAX, max_items=64 if lifetime == inf else 4096, weights={name: one[0] for name, one in people.items()}
    )
    costs = primed(MAX, lambda bucket, size: SECONDS, ["a"])
    simulation = Simulation(limits, lambda bucket, size: SECONDS * (1 + noise * random.gauss(0, 1)), costs)
    begin = 0.0
    for rate, seconds in phases:
        when = begin + random.expovariate(rate * CAPACITY)
        while when < begin + seconds:
            name = random.choices(list(people), [part for _, part in people.values()])[0]
            simulation.arrive(when, request(when, lifetime, tenant=name))
            when += random.expovariate(rate * CAPACITY)
        begin += seconds
    simulation.run()
    return simulation


@pytest.mark.parametrize("overload", [2.0, 4.0])
def test_overload_costs_nothing_and_is_over_at_once(overload: float) -> None:
    simulation = sleeping([(0.5, 5.0), (overload, 15.0), (0.5, 5.0)])
    log = simulation.log
    assert len(log.done(6.0, 20.0)) / 14.0 >= 0.98 * CAPACITY
    assert log.wasted() <= 0.01
    assert not log.ended, "with exact costs whoever is let in is served"
    calm = [one for one in log.refused if one.arrived < 5.0 or one.arrived > 20.5]
    assert len(calm) <= 2, "half of the capacity is served whole, half a second after the overload too"


def test_noise_wastes_little() -> None:
    simulation = sleeping([(2.0, 30.0)], noise=0.02)
    assert len(simulation.log.done(1.0, 30.0)) / 29.0 >= 0.98 * CAPACITY
    assert simulation.log.wasted() <= 0.01


@pytest.mark.parametrize(
    "tenants",
    [
        {"a": (1.0, 1.0), "b": (1.0, 1.0)},
        {"a": (1.0, 1.0), "b": (3.0, 1.0)},
        {"a": (1.0, 3.0), "b": (3.0, 4.0)},
        {"a": (1.0, 1.0), "b": (2.0, 1.0), "c": (4.0, 1.0)},
    ],
)
@pytest.mark.parametrize("lifetime", [DEADLINE, inf])
def test_saturating_tenants_get_their_weights(tenants: Mapping[str, tuple[float, float]], lifetime: float) -> None:
    simulation = sleeping([(4.0, 40.0)], tenants=tenants, lifetime=lifetime)
    done = simulation.log.done(2.0, 40.0)
    assert len(done) / 38.0 >= 0.98 * CAPACITY
    served = Counter(one.tenant for one in done)
    whole = sum(weight for weight, _ in tenants.values())
    for name, (weight, _) in tenants.items():
        assert served[name] / len(done) == pytest.approx(weight / whole, rel=0.05)


@pytest.mark.parametrize("seed", [9, 11, 14])
def test_tenants_come_near_their_weights_with_many_shapes_and_short_deadlines(seed: int) -> None:
    """Four shapes on two instances, and deadlines of a dozen batches: measured, shares are off by up to 17 %."""
    random = Random(seed)
    weights = {"a": 1.0, "b": 2.0, "c": 3.0}

    def cost(bucket: object, size: int) -> float:
        return SECONDS * (0.3 + 0.7 * size / MAX)

    simulation = Simulation(Limits(MAX, 2, weights=weights), cost, primed(MAX, cost, range(4)))
    when = 0.0
    while when < 20.0:
        when += random.expovariate(3.0 * 2 * CAPACITY)
        one = request(when, random.uniform(1.0, 1.3), bucket=random.randrange(4), tenant=random.choice("abc"))
        simulation.arrive(when, one)
    simulation.run()
    done = simulation.log.done(2.0, 20.0)
    assert len(done) / 18.0 >= 0.98 * 2 * CAPACITY
    served = Counter(one.tenant for one in done)
    for name, weight in weights.items():
        assert served[name] / len(done) == pytest.approx(weight / 6.0, rel=0.2)


def test_a_heavy_tenant_has_what_many_light_ones_leave() -> None:
    tenants = {"heavy": (1.0, 40.0), **{f"light-{number}": (1.0, 0.2) for number in range(40)}}
    simulation = sleeping([(2.0, 20.0)], tenants=tenants)
    assert len(simulation.log.done(1.0, 20.0)) / 19.0 >= 0.98 * CAPACITY


def test_a_light_tenant_gets_in_beside_a_heavy_one() -> None:
    simulation = sleeping([(4.0, 20.0)], tenants={"heavy": (1.0, 39.0), "light": (1.0, 1.0)})
    light = [one for one in simulation.log.refused if one.tenant == "light" and one.arrived > 1.0]
    came = light + [one for one in simulation.log.begun if one.tenant == "light"]
    assert len(light) <= 0.05 * len(came)
    assert len(simulation.log.done(1.0, 20.0)) / 19.0 >= 0.98 * CAPACITY, "the heavy one has the rest"


def flooded(low: bool, lifetime: float, slope: float) -> Simulation:
    """High priority at a fifth of the capacity, with or without low priority at four times the capacity."""

    def cost(bucket: object, size: int) -> float:
        return 0.005 * (1 - slope) + 0.005 * slope * size / MAX

    random = Random(3)
    simulation = Simulation(Limits(MAX, max_items=256), cost, primed(MAX, cost, ["a"]))
    capacity = MAX / 0.005
    for priority, rate, life in ((Priority.HIGH, 0.2, 1.0), (Priority.LOW, 4.0 * low, lifetime)):
        when = 0.0
        while rate and when < 4.0:
            when += random.expovariate(rate * capacity)
            simulation.arrive(when, request(when, life, priority=priority))
    simulation.run()
    return simulation


@pytest.mark.parametrize("lifetime", [inf, 0.4, 0.05])
@pytest.mark.parametrize("slope", [0.0, 0.8])
def test_a_flood_of_low_priority_costs_the_high_one_a_batch(lifetime: float, slope: float) -> None:
    def p99(simulation: Simulation) -> float:
        waits = sorted(at - one.arrived for one, at in simulation.log.finished.items() if one.priority == Priority.HIGH)
        return waits[int(len(waits) * 0.99)]

    simulation = flooded(True, lifetime, slope)
    assert p99(simulation) <= p99(flooded(False, lifetime, slope)) + 0.005
    lost = [one for one in (*simulation.log.refused, *simulation.log.ended) if one.priority == Priority.HIGH]
    assert not lost, "a queue full of low priority refuses no high one"
    assert {cause(error) for error in simulation.log.ended.values()} <= {"displaced"}
    assert simulation.log.ended


def looped(size: int, instances: int, in_flight: int, cost: Callable[[object, int], float], shapes: int,
           costs: CostModel, seconds: float, lifetime: float) -> Simulation:  # fmt: skip
    """Keep `in_flight` items in flight, each followed by another of its shape when it is done."""
    simulation = Simulation(Limits(size, instances), cost, costs)

    def again(ticket: Ticket[int]) -> None:
        if simulation.now < seconds:
            simulation.arrive(simulation.now, request(simulation.now, lifetime, bucket=ticket.bucket))

    simulation.on_done = again
    for index in range(in_flight):
        simulation.arrive(0.0, request(0.0, lifetime, bucket=index % shapes))
    simulation.run()
    return simulation


@pytest.mark.parametrize("instances", [1, 2])
@pytest.mark.parametrize("lifetime", [0.06, inf])
def test_interleaved_shapes_are_as_fast_as_one(instances: int, lifetime: float) -> None:
    def cost(bucket: object, size: int) -> float:
        return 0.002 + 0.0001 * size

    def done(shapes: int) -> int:
        known = primed(32, cost, range(4), explore=0.0)
        return len(looped(32, instances, 256, cost, shapes, known, 2.0, lifetime).log.done())

    assert done(4) >= 0.9 * done(1)


def flat(size: int) -> float:
    return 0.005


def bumpy(size: int) -> float:
    known = {8: 0.0026, 16: 0.0044, 24: 0.0052, 32: 0.0152}
    return known.get(size, (0.002 + 0.00025 * size) * (1.0 if size % 4 == 0 else 1.15))


def cliff(size: int) -> float:
    return (0.001 + 0.0001 * size) * (1.0 if size <= 12 else 2.0)


def rates(log_seconds: Sequence[tuple[float, float]], simulation: Simulation) -> list[float]:
    return [len(simulation.log.done(begin, end)) / (end - begin) for begin, end in log_seconds]


@pytest.mark.parametrize("curve", [flat, bumpy, cliff])
def test_the_best_size_is_found_while_it_works(curve: Callable[[int], float]) -> None:
    random = Random(5)
    costs = CostModel(32)
    for size in (1, 32):
        for _ in range(3):
            costs.observe("a", size, curve(size))
    simulation = looped(
        32, 1, 64, lambda bucket, size: curve(size) * (1 + 0.03 * random.gauss(0, 1)), 1, costs, 8.0, 10.0
    )  # fmt: skip
    best = max(size / curve(size) for size in range(1, 33))
    (learning, after) = rates([(0.0, 4.0), (4.0, 8.0)], simulation)
    assert learning >= 0.9 * best
    assert after >= 0.95 * best


def test_the_best_size_is_found_under_overload_with_deadlines() -> None:
    random = Random(8)
    costs = CostModel(32)
    for size in (1, 4, 16, 32):
        for _ in range(3):
            costs.observe("a", size, bumpy(size))
    simulation = Simulation(
        Limits(32), lambda bucket, size: bumpy(size) * (1 + 0.01 * random.gauss(0, 1)), costs
    )  # fmt: skip
    best = max(size / bumpy(size) for size in range(1, 33))
    when = 0.0
    while when < 8.0:
        when += random.expovariate(1.5 * best)
        simulation.arrive(when, request(when, 0.3))
    simulation.run()
    assert len(simulation.log.done(4.0, 8.0)) / 4.0 >= 0.95 * best
    assert simulation.log.wasted() <= 0.01
    assert len(simulation.log.ended) <= 0.01 * len(simulation.log.begun), "who was let in is served all the same"


def test_the_best_size_follows_costs_that_change() -> None:
    random = Random(6)
    current = [bumpy]
    costs = CostModel(32)
    simulation = Simulation(
        Limits(32), lambda bucket, size: current[0](size) * (1 + 0.03 * random.gauss(0, 1)), costs
    )  # fmt: skip
    simulation.on_done = lambda ticket: (
        simulation.arrive(simulation.now, request(simulation.now, 10.0)) if simulation.now < 16.0 else None
    )
    simulation.at(8.0, lambda: current.__setitem__(0, cliff))
    simulation.arrive(0.0, request(0.0, 10.0, items=64))
    simulation.run()
    best = [max(size / curve(size) for size in range(1, 33)) for curve in (bumpy, cliff)]
    (before, after) = rates([(4.0, 8.0), (12.0, 16.0)], simulation)
    assert before >= 0.95 * best[0]
    assert after >= 0.95 * best[1]
