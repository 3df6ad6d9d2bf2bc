"""What the engine costs: `PYTHONPATH=.:clients/python/src python -m tests.bench.engine_cost`.

Three figures, for items of 1 KB with a deadline, 64 under way, batches of 32, on one event loop without any server:
CPU from `submit` to `done` an item; the gap from the end of a batch to the entry of the next one; and how long one
caller alone waits for a model that does nothing, with its batches on a thread and on the loop. The CPU contains what
the caller itself does, about 1 µs an item. Only the first is independent of what else the machine does.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

import uvloop
from opentelemetry.trace import NoOpTracer

from inference_server.engine import Bounds, Engine, Item, Work
from inference_server.memory import tune_switching
from inference_server.models.model import ModelCard, Placement
from services.kit.clock import SystemClock
from services.kit.errors import CandelaError

_IN_FLIGHT, _MAX_BATCH = 64, 32
_BODY = bytes(1024)
_SECONDS = 3.0
_CALLS = 3000


class Sleeps:
    """Sleeps for so long a batch, whatever its size; notes when it was entered and left."""

    signature = None

    def __init__(self, seconds: float) -> None:
        self.card = ModelCard("sleeps", "1", _MAX_BATCH, 1, Placement.THREAD)
        self.entered: list[float] = []
        self.left: list[float] = []
        self._seconds = seconds

    def load(self) -> None:
        """Holds nothing."""

    def warm_up(self) -> None:
        """Has nothing to warm."""

    def samples(self) -> Sequence[bytes]:
        return ()

    def bucket(self, item: bytes) -> int:
        return len(item)

    def run(self, batch: Sequence[bytes]) -> Sequence[bytes]:
        self.entered.append(time.perf_counter())
        if self._seconds:
            time.sleep(self._seconds)
        self.left.append(time.perf_counter())
        return batch

    def close(self) -> None:
        """Holds nothing."""

    def gaps(self) -> list[float]:
        """Return the seconds between batches that followed each other."""
        return [entered - left for left, entered in zip(self.left, self.entered[1:], strict=False)]


@dataclass
class Callers:
    """Keep as many items under way as there are callers: what came back in one turn leaves again in one call."""

    engine: Engine[bytes, bytes]
    until: float
    done: int = 0
    _ready: int = _IN_FLIGHT
    _scheduled: bool = False
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Go on until the time is over and everything came back."""
        self._again()
        await self._over.wait()

    def _came(self, _: list[bytes | CandelaError]) -> None:
        self.done += 1
        self._ready += 1
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._again)

    def _again(self) -> None:
        self._scheduled = False
        if time.perf_counter() < self.until:
            deadline = time.monotonic() + 60.0
            items: list[Item[bytes] | CandelaError] = [Item(_BODY, len(_BODY))]
            ready, self._ready = self._ready, 0
            work = [(items, Work("tenant", deadline=deadline), self._came) for _ in range(ready)]
            refused = [one for one in self.engine.submit_many(work) if isinstance(one, CandelaError)]
            if refused:
                raise SystemExit(f"the engine refuses work that has a minute: {refused[0]}")
        elif self._ready == _IN_FLIGHT:
            self._over.set()


def _engine(model: Sleeps) -> Engine[Any, Any]:
    engine: Engine[Any, Any] = Engine([model], SystemClock(), NoOpTracer(), Bounds(timing_seconds=0.0))
    engine.load()
    engine.open()
    return engine


async def under_load(seconds: float) -> str:
    """Return the line of figures for a model that sleeps for so long."""
    model = Sleeps(seconds)
    engine = _engine(model)
    callers = Callers(engine, time.perf_counter() + _SECONDS)
    cpu, began = time.process_time(), time.perf_counter()
    await callers.run()
    cpu, took = time.process_time() - cpu, time.perf_counter() - began
    await engine.close(5.0)
    gaps = quantiles(model.gaps(), n=100)
    rate = f"{callers.done / took:,.0f} items/s, {callers.done / len(model.left):.1f} a batch"
    cost = (
        f"{cpu / callers.done * 1e6:.1f} µs of CPU an item, gap p50 {gaps[49] * 1e6:.0f} µs p99 {gaps[98] * 1e6:.0f} µs"
    )
    return f"sleeps {seconds * 1e3:.0f} ms: {rate}, {cost}"


async def alone(seconds: float) -> str:
    """Return the line of figures for one caller of a model that sleeps for so long: 0 moves to the loop by itself."""
    engine = _engine(Sleeps(seconds))
    took: list[float] = []
    for _ in range(_CALLS if not seconds else _CALLS // 10):
        began = time.perf_counter()
        await engine.answers([Item(_BODY, len(_BODY))], Work())
        took.append(time.perf_counter() - began - seconds)
    await engine.close(5.0)
    where = "a thread" if seconds else "the loop"
    return f"one caller, batches on {where}: p50 {quantiles(took, n=100)[49] * 1e6:.0f} µs beside the model"


async def main() -> None:
    tune_switching()
    for measure, seconds in ((under_load, 0.005), (under_load, 0.0), (alone, 0.0), (alone, 0.001)):
        print(await measure(seconds))


if __name__ == "__main__":
    uvloop.run(main())
