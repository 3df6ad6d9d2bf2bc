"""Repeated work: it goes on through failures and ends with its block."""

import asyncio
import logging

import pytest

from services.kit.background import repeating
from tests.support.eventually import eventually


async def test_it_repeats_through_failures_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    turns = 0

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns in {2, 3, 4}:
            raise ValueError("not today")

    with caplog.at_level(logging.INFO):
        async with repeating("sweeping", 0.001, work):
            await eventually(lambda: turns >= 6)
    assert [record.getMessage() for record in caplog.records] == [
        "sweeping failed and will be tried again",
        "sweeping works again",
    ]


async def test_it_ends_with_its_block_in_the_middle_of_a_turn() -> None:
    started, undone = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            undone.set()

    async with repeating("waiting", 0.0, work):
        await started.wait()
    assert undone.is_set()
