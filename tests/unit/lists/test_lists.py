"""Every list of the services, on every database: as many statements for many rows as for few, and whole pages."""

import random

import grpc
import pytest

from candela.erasure.v1 import erasure_service_pb2
from services.kit.implemented import PUBLIC_SERVICES
from tests.unit.lists.cases import CASES, ListCase
from tests.unit.lists.conftest import Lists, counted, methods_of

LISTS = sorted(
    method.full_name
    for service in (*PUBLIC_SERVICES, erasure_service_pb2.DESCRIPTOR.services_by_name["ErasureService"].full_name)
    for method in methods_of(service).values()
    if method.name.startswith(("List", "Search"))
)


async def test_every_list_that_is_implemented_has_a_case(lists: Lists) -> None:
    assert set(CASES) <= set(LISTS)
    for name in sorted(set(LISTS) - set(CASES)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await lists.call(name)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, f"{name} works and has no case"


async def test_ten_rows_and_a_hundred_cost_the_same_statements(lists: Lists) -> None:
    found = {name: [await _cost(lists, name, rows) for rows in (10, 100)] for name in sorted(CASES)}
    assert {name: costs for name, costs in found.items() if costs[0] != costs[1]} == {}
    assert max(few for few, _ in found.values()) <= 25


async def _cost(lists: Lists, name: str, rows: int) -> int:
    await lists.empty(name)
    await lists.fill(name, list(range(rows)))
    costs, items = [], list[str]()
    for _ in range(2):  # of erasures the other service asks as well, now and then: the smaller number is ours
        with counted() as counts:
            items, _ = await lists.page(name, 1000)
        costs.append(counts["/{}/{}".format(*name.rsplit(".", 1))])
    if not name.endswith("ListSystemConfigs"):  # its items are the catalogue's
        assert len(items) >= rows
    return min(costs)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 6))])
async def test_nothing_comes_twice_and_nothing_is_skipped(lists: Lists, seed: int) -> None:
    for name in sorted(CASES):
        for turn in range(2):
            await _walk(lists, name, random.Random(f"{name} {seed} {turn}"))


async def _walk(lists: Lists, name: str, dice: random.Random) -> None:
    """Page through a list while rows come, also in between and of the same moment, and go."""
    case: ListCase = CASES[name]
    await lists.empty(name)
    present = set(dice.sample(range(90), dice.randint(1, 40)))
    await lists.fill(name, sorted(present))
    stayed, size, token, seen = set(present), dice.randint(1, 9), "", list[str]()
    while True:
        items, token = await lists.page(name, size, token)
        assert len(items) <= size
        seen += items
        if not token:
            break
        new = set(dice.sample(_numbers(case, present), 3)) if case.rows_come else set()
        gone = set(dice.sample(sorted(present), min(len(present), dice.randint(0, 2)))) if case.rows_go else set()
        await lists.fill(name, sorted(new - present))
        await lists.remove(name, sorted(gone))
        present, stayed = (present | new) - gone, stayed - gone
    assert len(seen) == len(set(seen)), name
    if not name.endswith("ListSystemConfigs"):
        assert {case.id_of(number) for number in stayed} <= set(seen), name


def _numbers(case: ListCase, present: set[int]) -> range:
    """Return which rows may come in between."""
    youngest = max(present, default=0)
    return range(youngest + 1, youngest + 10) if case.only_younger else range(90)
