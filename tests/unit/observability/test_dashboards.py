"""The dashboards: what is committed is what is built, their names exist, their expressions are legal."""

import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import inference_server.names
import observability.names
from observability.dashboards.__main__ import FOLDER
from observability.dashboards.boards import BOARDS
from observability.dashboards.panels import Board, to_json
from observability.names import ENVOY, Metric
from tests.support.binaries import require_binary

_PROVISIONING = FOLDER.parent / "grafana" / "provisioning"
# What Prometheus itself adds, and what its Python client tells about every process.
_FOREIGN = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
_WORDS = {
    "sum",
    "rate",
    "histogram_quantile",
    "max",
    "min",
    "min_over_time",
    "deriv",
    "count",
    "increase",
    "topk",
    "vector",
    "or",
    "by",
    "and",
}
_VARIABLES = {"$__rate_interval": "5m", "$component": ".*", "$endpoint": ".*", "$model": ".*"}


def known() -> set[str]:
    """Returns every name that a scrape can have."""
    ours = {name for module in (observability.names, inference_server.names) for name in names_of(module)}
    return ours | ENVOY | _FOREIGN


def names_of(module: ModuleType) -> set[str]:
    found = set()
    for metric in (value for value in vars(module).values() if isinstance(value, Metric)):
        parts = ("_bucket", "_sum", "_count") if metric.buckets else ("",)
        found |= {f"{metric.name}{part}" for part in parts}
    return found


def names_in(expression: str) -> set[str]:
    """Returns the metric names of an expression: its words outside of labels, groupings and ranges."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", " ", expression)
    return {word for word in re.findall(r"[a-zA-Z_]\w*", bare) if word not in _WORDS}


def expressions(board: Board) -> list[str]:
    return [query.expression for query in board.queries()]


@pytest.mark.parametrize("name", BOARDS)
def test_what_is_committed_is_what_is_built(name: str) -> None:
    committed = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert committed == to_json(BOARDS[name]), "run `python -m observability.dashboards`"


def test_nothing_else_is_committed() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_every_metric_exists(name: str) -> None:
    for expression in expressions(BOARDS[name]):
        assert names_in(expression), expression
        assert names_in(expression) <= known(), expression


def test_a_metric_that_does_not_exist_is_found() -> None:
    assert names_in('sum by (le) (rate(http_requests{code=~"5.."}[5m])) / up') == {"http_requests", "up"}


def test_every_expression_is_legal(tmp_path: Path) -> None:
    promtool = require_binary("promtool")
    rules = []
    for board in BOARDS.values():
        for number, expression in enumerate(expressions(board)):
            for variable, value in _VARIABLES.items():
                expression = expression.replace(variable, value)  # noqa: PLW2901 - the same one, made plain
            assert "$" not in expression
            rules.append({"record": f"{board.uid.replace('-', '_')}:{number}", "expr": expression})
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


@pytest.mark.parametrize("name", BOARDS)
def test_panels_lie_beside_each_other(name: str) -> None:
    """No two panels cover each other and none sticks out; every one has a title and something to show."""
    board = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        assert panel["title"]
        assert panel["type"] == "row" or panel["targets"]
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_boards_are_told_apart() -> None:
    assert len({board.uid for board in BOARDS.values()}) == len(BOARDS)
    assert len({board.title for board in BOARDS.values()}) == len(BOARDS)


def test_provisioning_is_legal_yaml_of_the_first_version() -> None:
    files = sorted(_PROVISIONING.rglob("*.yaml"))
    assert [file.parent.name for file in files] == ["dashboards", "datasources"]
    assert all(yaml.safe_load(file.read_text())["apiVersion"] == 1 for file in files)
