"""Repeated work: it goes on through failures and ends with its block."""

import asyncio
import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

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


async def test_its_calls_are_not_traced() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_ON))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    turns = 0

    async def work() -> None:
        nonlocal turns
        with provider.get_tracer("test").start_as_current_span("a call"):
            turns += 1

    await work()
    assert len(exporter.get_finished_spans()) == 1
    async with repeating("calling", 0.0, work):
        await eventually(lambda: turns >= 3)
    assert len(exporter.get_finished_spans()) == 1


async def test_it_ends_although_a_turn_swallows_the_cancellation() -> None:
    swallowed = 0
    started = asyncio.Event()

    async def work() -> None:
        nonlocal swallowed
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed += 1
            if swallowed == 1:
                raise ConnectionError("taken for a failure of the connection") from None
            raise

    async with asyncio.timeout(20):
        async with repeating("reading", 0.0, work):
            await started.wait()
    assert swallowed == 2


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
