"""A folder of models behind a running host: they come, are replaced and are refused while it serves."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opentelemetry.trace import NoOpTracer

from inference_server.engine import Bounds, Item, Work
from inference_server.host import ModelHost
from inference_server.models.device import Runtime
from inference_server.models.repository import Repository
from inference_server.versions import State
from services.kit.clock import SystemClock
from services.kit.errors import CandelaError, FailedPrecondition
from tests.support import onnx_graphs as graphs
from tests.support.binaries import requires_package
from tests.support.model_folder import write_model

DOUBLE = {"model.onnx": graphs.doubling()}
SQUARE = {
    "model.onnx": graphs.Graph(
        [graphs.value("x", graphs.FLOAT, ["N", 3])],
        [graphs.value("y", graphs.FLOAT, ["N", 3])],
        [graphs.node("Mul", ["x", "x"], ["y"])],
    ).encoded()
}


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[ModelHost]:
    write_model(tmp_path, "numbers", "1", DOUBLE)
    host = ModelHost(
        [Repository(tmp_path)],
        SystemClock(),
        NoOpTracer(),
        runtimes=[Runtime(threads=2)],
        bounds=Bounds(timing_seconds=0.0),
        linger_seconds=0.0,
    )
    await host.start()
    yield host
    await host.close(10.0)


async def answer(host: ModelHost, name: str, value: float) -> Any:
    engine = host.named(name)
    assert engine.signature is not None
    item = engine.signature.item({"x": np.full(3, value, np.float32)})
    (result,) = await engine.answers([Item(item, 12)], Work())
    if isinstance(result, CandelaError):
        raise result
    return engine.signature.arrays(result)["y"].tolist()


async def test_a_newer_version_takes_over_and_a_broken_one_does_not(host: ModelHost, tmp_path: Path) -> None:
    assert await answer(host, "numbers", 3) == [6, 6, 6]
    write_model(tmp_path, "numbers", "2", SQUARE)
    await host.load("numbers")
    assert host.named("numbers").card.version == "2"
    assert await answer(host, "numbers", 3) == [9, 9, 9]

    folder = write_model(tmp_path, "numbers", "3", DOUBLE)
    (folder / "model.onnx").write_bytes(SQUARE["model.onnx"])
    with pytest.raises(FailedPrecondition, match=r"numbers@3: .*has SHA-256"):
        await host.load("numbers")
    assert await answer(host, "numbers", 3) == [9, 9, 9], "what runs goes on running"
    broken = next(known for known in host.index() if known.version == "3")
    assert broken.state is State.UNAVAILABLE
    assert "SHA-256" in broken.reason


async def test_invariance_is_measured_of_any_graph(host: ModelHost) -> None:
    found = await host.named("numbers").measured_invariance()
    assert found.kind == "EXACT"
    assert found.comparisons > 0


@requires_package("torch")
async def test_a_network_of_ours_is_served_and_measured(host: ModelHost, tmp_path: Path) -> None:
    from inference_server.training.random_weights import write_drawn  # noqa: PLC0415 - torch may not be here

    write_drawn(tmp_path, "small-conv")
    await host.load("small-conv")
    engine = host.named("small-conv")
    assert engine.signature is not None
    assert engine.card.platform == "pytorch"
    item = engine.signature.item({"pictures": np.ones((3, 96, 96), np.float32)})
    results = await engine.answers([Item(item, item["pictures"].nbytes)] * 5, Work())
    assert [engine.signature.arrays(result)["scores"].shape for result in results] == [(10,)] * 5
    found = await engine.measured_invariance()
    assert found.kind in ("EXACT", "TOLERANCE")
    assert found.comparisons > 0
