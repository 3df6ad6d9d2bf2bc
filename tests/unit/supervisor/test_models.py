"""`make models`: how models, invariance and costs are shown, and what is said when nobody answers."""

import io
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from rich.console import Console

from candela.inference.v1 import model_pb2 as pb
from supervisor.__main__ import main
from supervisor.datadir import DataDir
from supervisor.models import Wish, show_models
from supervisor.models_view import costs, details, overview


def seconds(value: float) -> Duration:
    return Duration(seconds=int(value), nanos=round(value % 1 * 1e9))


def model(name: str = "reader", **changes: Any) -> pb.Model:
    values: dict[str, Any] = {
        "name": name, "version": "2", "state": pb.MODEL_STATE_READY, "task": "recognize-text", "device": "cpu",
        "platform": "onnxruntime_onnx", "instances": 2, "max_batch": 32,
        "best_batches": [pb.BestBatch(shape="48", items=24)],
        "inputs": [pb.TensorSpec(name="crop", datatype="UINT8", shape=[48, -1, 3])],
    }  # fmt: skip
    return pb.Model(**values | changes)


def statistics(shapes: int = 1) -> pb.ModelStatistics:
    sizes = [
        pb.SizeCost(size=8, compute=seconds(0.016), items_per_second=500.0, samples=3),
        pb.SizeCost(size=24, compute=seconds(0.0052), items_per_second=4612.0, samples=9),
    ]
    return pb.ModelStatistics(
        model="reader@2",
        items=pb.ItemCounts(done=96, failed=2, refused=7),
        refusals=[pb.Refusals(reason="queue_full", requests=5), pb.Refusals(reason="stopping", requests=1)],
        batches=5,
        queue=pb.Spread(count=98, p95=seconds(0.025)),
        compute=pb.Spread(count=5, p50=seconds(0.0052)),
        sizes=[pb.SizeStatistics(size=24, batches=4), pb.SizeStatistics(size=2, batches=1)],
        tenants=[pb.TenantStatistics(tenant="acme", items=pb.ItemCounts(done=90), compute=seconds(1.5))],
        other_tenants=pb.TenantStatistics(tenant="other"),
        costs=[pb.ShapeCosts(shape=str(48 + at), best=24, batches=5, sizes=sizes) for at in range(shapes)],
    )


def shown(what: Any, width: int = 160) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(what)
    return out.getvalue()


def test_a_ready_model_shows_its_state_its_best_batch_and_its_figures() -> None:
    text = shown(overview([model()], {"reader@2": statistics()}, 160))
    row = next(line for line in text.splitlines() if "● ready" in line)
    for part in (
        "reader@2",
        "recognize-text",
        "onnxruntime_onnx cpu",
        " 32 ",
        " 24 ",
        " 96 ",
        " 7 ",
        "25 ms",
        "5.2 ms",
    ):
        assert part in row
    best = next(line for line in text.splitlines() if "● best" in line)
    assert "4612" in best
    assert "0.2 ms" in best


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (None, "not measured"),
        (pb.BatchInvariance(kind=pb.BatchInvariance.KIND_EXACT, comparisons=9), "exact"),
        (pb.BatchInvariance(kind=pb.BatchInvariance.KIND_EXACT), "not measured"),
        (pb.BatchInvariance(kind=pb.BatchInvariance.KIND_TOLERANCE, relative=3.2e-6, comparisons=9), "within 3e-06"),
        (pb.BatchInvariance(kind=pb.BatchInvariance.KIND_NOT_INVARIANT, comparisons=9), "no"),
    ],
)
def test_invariance_is_what_was_measured(measured: pb.BatchInvariance | None, said: str) -> None:
    one = model()
    if measured is not None:
        one.invariance.CopyFrom(measured)
    text = shown(overview([one], {}, 160))
    assert f"{said} " in text


def test_a_model_that_does_not_answer_says_why() -> None:
    broken = pb.Model(name="broken", state=pb.MODEL_STATE_UNAVAILABLE, reason="its weights are gone")
    idle = pb.Model(name="idle", state=pb.MODEL_STATE_UNAVAILABLE)
    text = shown(overview([broken, idle], {}, 160))
    assert "● not ready" in text
    assert "broken: its weights are gone" in text
    assert "○ not loaded" in text


def test_many_shapes_are_cut_short_in_the_overview_and_whole_in_the_details() -> None:
    assert "… and 2 more shapes: make models NAME=reader@2" in shown(costs(statistics(5), 160, 3))
    text = shown(details(model(), statistics(5), 160))
    assert "more shapes" not in text
    for part in ("52", "crop UINT8[48, -1, 3]", "24 × 4", "queue_full 5, stopping 1", "acme", "1.5 s"):
        assert part in text


def test_a_best_size_that_was_not_measured_has_a_line_without_figures() -> None:
    had = statistics()
    had.costs[0].best = 32
    best = next(line for line in shown(costs(had, 160, 3)).splitlines() if "until measured" in line)
    assert " 32 " in best
    assert "–" in best


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits_every_terminal(width: int) -> None:
    text = shown(overview([model()], {"reader@2": statistics()}, width), width)
    assert max(map(len, text.splitlines())) <= width
    assert "reader@2" in text


def test_without_a_mesh_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    assert show_models(DataDir(tmp_path), Wish(), out) == 1
    assert "no mesh runs on" in out.getvalue()
    monkeypatch.setenv("CANDELA_DATA_DIR", str(tmp_path))
    assert main(["models", "--json"]) == 1
