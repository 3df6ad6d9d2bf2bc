"""Networks in PyTorch on one device, through the engine and without it: `python -m tests.bench.gpu_models`.

A detector with the layers of YOLO11m (640 × 640 pixels) and a reader of text lines with those of CRNN (320 × 32), with
random weights. For each number of pictures in flight, two seconds each: pictures a second through the engine, by calls
of one picture that wait for their answer and come again; by the plain call, `run` with that many pictures (at most the
model's largest batch) again and again; and by `run` with one picture at a time. Then every sample's answer alone is
compared with its answers in mixed batches. The device is that of CANDELA_DEVICE; --tiny takes small networks and short
times, to see that the script works.

The detector's answers are compared at every place: which of two boxes with nearly the same score comes first is decided
by rounding, in any company.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry.trace import NoOpTracer

from inference_server.engine import Bounds, Engine, Item, Work
from inference_server.engine.invariance import compare
from inference_server.memory import tune_allocator, tune_switching
from inference_server.models.device import Runtime
from inference_server.models.model import Model
from inference_server.models.repository import Repository
from inference_server.settings import InferenceSettings
from services.kit.clock import SystemClock
from services.kit.errors import CandelaError
from tests.bench.figures import Figure, Outcome, table

_NEEDS = 0.95  # of the plain batched call
_GAIN = 5.0  # over one at a time
_MANY = 64  # in flight, from which on the two bars count
_COMPARED = {"yolo11-detector": {"dense": True}}  # options of the networks whose answers are compared
_COMPARING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: networks (architecture → options), how many pictures are in flight, for how many seconds."""

    networks: Mapping[str, Mapping[str, Any]]
    in_flight: Sequence[int] = (1, 4, 16, 64, 256)
    seconds: float = 2.0


FULL = Plan({"yolo11-detector": {"size": "m", "side": 640}, "crnn-reader": {}})
TINY = Plan(
    {"yolo11-detector": {"size": "n", "side": 64}, "crnn-reader": {"width": 32, "classes": 8}}, (1, 4), seconds=0.05
)


@dataclass(frozen=True, slots=True)
class Row:
    """Pictures a second with so many in flight: through the engine, by the plain call, and one at a time."""

    in_flight: int
    engine: float
    plain: float
    single: float


def bench(plan: Plan = FULL) -> Outcome:
    """Measure every network of the plan on the device that the settings name."""
    tune_allocator()
    tune_switching()
    runtime = InferenceSettings().runtime
    figures: list[Figure] = []
    details = [f"device: {_device(runtime)}"]
    with tempfile.TemporaryDirectory(prefix="candela-bench-") as folder:
        for name, options in plan.networks.items():
            model = _model(Path(folder), name, options, runtime)
            rows = asyncio.run(_measure(model, plan))
            invariance = _compared(Path(folder), name, {**options, **_COMPARED.get(name, {})}, runtime)
            figures += _figures(name, rows, on_cpu=runtime.on_cpu)
            details += ["", f"{name} {dict(options)}", *_shown(rows), f"in other company: {invariance}"]
    return Outcome(tuple(figures), tuple(details))


def _model(folder: Path, name: str, options: Mapping[str, Any], runtime: Runtime) -> Model[Any, Any]:
    from inference_server.training.random_weights import write_drawn  # noqa: PLC0415 - torch is an extra

    write_drawn(folder, name, options)
    return Repository(folder).create(name, "", runtime)


async def _measure(model: Model[Any, Any], plan: Plan) -> list[Row]:
    engine: Engine[Any, Any] = Engine([model], SystemClock(), NoOpTracer(), Bounds())
    await asyncio.to_thread(engine.load)
    engine.open()
    try:
        samples = list(model.samples())
        single = await asyncio.to_thread(_plain, model, samples, 1, plan.seconds)
        rows: list[Row] = []
        for count in plan.in_flight:
            plain = await asyncio.to_thread(_plain, model, samples, min(count, model.card.max_batch), plan.seconds)
            await _through(engine, samples, count, plan.seconds / 2)  # the engine learns what batches cost
            rows.append(Row(count, await _through(engine, samples, count, plan.seconds), plain, single))
        return rows
    finally:
        await engine.close(30.0)


def _compared(folder: Path, name: str, options: Mapping[str, Any], runtime: Runtime) -> str:
    """Say how far answers depend on what else is in their batch."""
    model = _model(folder, name, options, runtime)
    model.load()
    found = compare(model.run, model, model.card.max_batch, _COMPARING_SECONDS)
    model.close()
    return (
        f"{found.kind}, at most {found.absolute:.2g} and {found.relative:.2g} of the largest number, over "
        f"{found.comparisons} comparisons in batches up to {found.largest_batch}"
    )


def _plain(model: Model[Any, Any], samples: Sequence[Any], size: int, seconds: float) -> float:
    """Return pictures a second when batches of one size run one after the other."""
    batch = [samples[index % len(samples)] for index in range(size)]
    model.run(batch)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        model.run(batch)
        done += size
    return done / (time.perf_counter() - began)


async def _through(engine: Engine[Any, Any], samples: Sequence[Any], in_flight: int, seconds: float) -> float:
    """Return pictures a second when so many callers each send one picture and wait for its answer."""
    done, began = 0, time.perf_counter()

    async def caller(sample: Any) -> None:
        nonlocal done
        item = Item(sample, sum(array.nbytes for array in sample.values()))
        while time.perf_counter() - began < seconds:
            (result,) = await engine.answers([item], Work())
            if isinstance(result, CandelaError):
                raise result
            done += 1

    async with asyncio.TaskGroup() as callers:
        for index in range(in_flight):
            callers.create_task(caller(samples[index % len(samples)]))
    return done / (time.perf_counter() - began)


def _figures(name: str, rows: Sequence[Row], *, on_cpu: bool) -> Iterator[Figure]:
    for row in rows:
        yield Figure(f"{name}, {row.in_flight} in flight", "pictures/s", (row.engine,), digits=1)
    many = [row for row in rows if row.in_flight >= _MANY]
    if many:
        ratios = tuple(row.engine / row.plain for row in many)
        yield Figure(f"{name}, of the plain batched call", "", ratios, at_least=_NEEDS, judged="worst")
        gains = tuple(row.engine / row.single for row in many)
        # On a CPU a batch gains little: there the bar means nothing.
        yield Figure(f"{name}, over one at a time", "×", gains, at_least=None if on_cpu else _GAIN)


def _shown(rows: Sequence[Row]) -> list[str]:
    head = ("in flight", "engine/s", "plain batch/s", "one at a time/s", "of plain", "over one")
    numbers = [
        (f"{row.in_flight}", f"{row.engine:.1f}", f"{row.plain:.1f}", f"{row.single:.1f}",
         f"{row.engine / row.plain:.2f}", f"{row.engine / row.single:.1f}×")
        for row in rows
    ]  # fmt: skip
    return table([head, *numbers])


def _device(runtime: Runtime) -> str:
    import torch  # noqa: PLC0415 - an extra

    if runtime.on_cpu:
        return f"{runtime.cores} CPU cores, PyTorch {torch.__version__}"
    return f"{torch.cuda.get_device_name(runtime.index)}, PyTorch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures networks in PyTorch on the device of CANDELA_DEVICE.")
    parser.add_argument("--tiny", action="store_true", help="small networks and short times")
    outcome = bench(TINY if parser.parse_args().tiny else FULL)
    print("\n".join(table([figure.row() for figure in outcome.figures])), *outcome.details, sep="\n")


if __name__ == "__main__":
    main()
