"""Holders never have more together than there is, come in order, and nothing gets lost with one that gives up."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recognition.providers.budget import Budget


class Holder:
    """Somebody who holds an amount until told to let go."""

    def __init__(self, budget: Budget, amount: int) -> None:
        self.has = False
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._run(budget, amount))

    async def _run(self, budget: Budget, amount: int) -> None:
        async with budget.hold(amount):
            self.has = True
            await self.end.wait()
        self.has = False

    async def let_go(self) -> None:
        self.end.set()
        await self.task


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_does_not_fit_waits_and_is_not_overtaken() -> None:
    budget = Budget(10)
    first, large, small = Holder(budget, 6), Holder(budget, 5), Holder(budget, 1)
    await settled()
    assert (first.has, large.has, small.has) == (True, False, False)
    await first.let_go()
    await settled()
    assert (large.has, small.has) == (True, True)
    await large.let_go()
    await small.let_go()


async def test_more_than_everything_is_everything() -> None:
    budget = Budget(10)
    giant, other = Holder(budget, 99), Holder(budget, 1)
    await settled()
    assert (giant.has, other.has) == (True, False)
    await giant.let_go()
    await other.let_go()


async def test_one_that_gives_up_waiting_lets_the_next_in() -> None:
    budget = Budget(10)
    first, large, small = Holder(budget, 6), Holder(budget, 5), Holder(budget, 4)
    await settled()
    large.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await large.task
    await settled()
    assert small.has
    await first.let_go()
    await small.let_go()


async def test_one_that_gives_up_as_its_turn_comes_gives_it_back() -> None:
    budget = Budget(10)
    first, second, third = Holder(budget, 10), Holder(budget, 10), Holder(budget, 10)
    await settled()
    first.end.set()
    await asyncio.sleep(0)
    second.task.cancel()
    await asyncio.wait({second.task})
    await settled()
    assert third.has
    assert not second.has
    await third.let_go()
    await first.task


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=30))
def test_all_that_was_held_comes_back(script: list[tuple[int, bool]]) -> None:
    async def play() -> None:
        budget = Budget(10)
        holders = []
        for amount, gives_up in script:
            holder = Holder(budget, amount)
            await asyncio.sleep(0)
            if gives_up:
                holder.task.cancel()
            holders.append(holder)
        for holder in holders:
            holder.end.set()
        await asyncio.gather(*(holder.task for holder in holders), return_exceptions=True)
        async with asyncio.timeout(1), budget.hold(10):
            pass

    asyncio.run(play())
