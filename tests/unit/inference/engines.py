"""Engines for tests, with a clock that stands still and numbers that can be read."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from inference_server.engine import Bounds, Engine, Item, Submission, Work
from observability.telemetry import Telemetry, start_telemetry
from services.kit.clock import ManualClock
from services.kit.errors import CandelaError
from tests.support.eventually import eventually
from tests.unit.inference.scripted import Scripted

Result = int | CandelaError
Start = Callable[..., Engine[int, int]]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(exporter: InMemorySpanExporter) -> Iterator[Telemetry]:
    telemetry = start_telemetry("inference", processors=[SimpleSpanProcessor(exporter)])
    yield telemetry
    telemetry.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def start(telemetry: Telemetry, clock: ManualClock) -> AsyncIterator[Start]:
    """Give a function that makes an engine of a scripted model, under a name that no other test has."""
    engines: list[tuple[Scripted, Engine[int, int]]] = []

    def started(model: Scripted, *, max_items: int = 100, max_bytes: int = 1000) -> Engine[int, int]:
        model.named(f"scripted-{uuid4()}")
        bounds = Bounds(max_items=max_items, max_bytes=max_bytes, timing_seconds=0.0)
        engine: Engine[int, int] = Engine([model], clock, telemetry.tracer, bounds)
        engine.load()
        engine.open()
        engines.append((model, engine))
        return engine

    yield started
    for model, engine in engines:
        model.release(200)
        await engine.close(5.0)


def items(*values: int, size: int = 1) -> list[Item[int] | CandelaError]:
    return [Item(value, size) for value in values]


async def answers(engine: Engine[int, int], *values: int, work: Work | None = None) -> list[Result]:
    return await engine.answers(items(*values), work or Work())


@dataclass
class Asked:
    """A request and what came of it."""

    submission: Submission[int]
    deliveries: list[list[Result]] = field(default_factory=list)

    async def results(self) -> list[Result]:
        """Wait for the one delivery and return it."""
        await eventually(lambda: bool(self.deliveries), timeout=10.0)
        (results,) = self.deliveries
        return results


def ask(engine: Engine[int, int], *values: int, size: int = 1, work: Work | None = None) -> Asked:
    """Submit and return at once; raises what `submit` raises."""
    deliveries: list[list[Result]] = []
    return Asked(engine.submit(items(*values, size=size), work or Work(), deliveries.append), deliveries)


async def running(model: Scripted) -> None:
    """Return once another batch of the model has begun."""
    await eventually(model.has_begun, timeout=10.0)


def metric(engine: Engine[Any, Any], name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"model": engine.card.identity, **labels}) or 0.0
