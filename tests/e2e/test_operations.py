"""docs/operations.md tells what is: the ports, the metrics, and commands that work as they stand there."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import httpx
import pytest

import inference_server.names
import observability.names
from observability.names import Metric
from services.kit.ports_plan import DEFAULT_BASE, PortPlan
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import works

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "operations.md").read_text()
_PROCESSES = ("supervisor", "user", "recognition", "inference", "gateway")


def documented_metrics() -> dict[str, set[str]]:
    """Return the labels of each metric in the page's table."""
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|.+\|$", _PAGE.partition("## Metrics")[2], re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def metrics_in(module: ModuleType) -> dict[str, set[str]]:
    return {metric.name: set(metric.labels) for metric in vars(module).values() if isinstance(metric, Metric)}


def shown_metrics(mesh: Mesh, process: str) -> set[str]:
    page = httpx.get(f"http://127.0.0.1:{mesh.ports.metrics(process)}/metrics").text
    names = set(re.findall(r"^# TYPE (\w+) (?:counter|gauge|histogram)$", page, re.MULTILINE))
    return {
        name
        for name in names
        if not name.startswith(("python_", "process_", "envoy_")) and not name.endswith("_created")
    }


def test_every_metric_is_described_with_its_labels(mesh: Mesh) -> None:
    assert works(mesh)
    described = documented_metrics()
    own = {name for name in described if name.startswith("candela_")}
    assert described == metrics_in(observability.names) | metrics_in(inference_server.names)
    assert own == shown_metrics(mesh, "supervisor")
    for process in _PROCESSES:
        assert shown_metrics(mesh, process) <= set(described), process


def test_every_port_is_where_the_table_says() -> None:
    plan = PortPlan(DEFAULT_BASE)
    rows = re.findall(r"^\| (\d+)(?:–(\d+))? \| \+(\d+)", _PAGE, re.MULTILINE)
    listed = {number for first, last, _ in rows for number in range(int(first), int(last or first) + 1)}
    assert listed == {port for name, port in plan.all().items() if not name.startswith("metrics-")} | {9464}
    assert all(int(first) - DEFAULT_BASE == int(offset) for first, _, offset in rows)
    metrics = dict(zip(re.findall(r"(94[67]\d) `\w+`", _PAGE), re.findall(r"94[67]\d `(\w+)`", _PAGE), strict=True))
    assert metrics == {str(plan.metrics(process)): process for process in _PROCESSES}


@pytest.mark.parametrize("command", re.findall(r"^\.venv/bin/python (-m [\w. -]+?) *(?:#.*)?$", _PAGE, re.MULTILINE))
def test_commands_succeed_on_a_mesh_that_runs(mesh: Mesh, command: str) -> None:
    assert works(mesh)
    environment = {"CANDELA_DATA_DIR": str(mesh.data.root), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=_ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
