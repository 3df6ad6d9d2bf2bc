"""`buf breaking` compares with the released baseline, and a change that breaks callers fails it."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import baseline

ROOT = Path(__file__).parents[2]

RELEASED = """syntax = "proto3";

package candela.lamp.v1;

// A lamp.
message Lamp {
  // Its name.
  string name = 1;
  // Whether it is lit.
  bool lit = 2;
}

// Lamps.
service LampService {
  // Returns a lamp.
  rpc GetLamp(Lamp) returns (Lamp);
}
"""


def renamed_field(text: str) -> str:
    return text.replace("bool lit = 2;", "bool burning = 2;")


def deleted_field(text: str) -> str:
    return text.replace("  // Whether it is lit.\n  bool lit = 2;\n", "")


def deleted_method(text: str) -> str:
    return text.replace("  // Returns a lamp.\n  rpc GetLamp(Lamp) returns (Lamp);\n", "")


def retyped_field(text: str) -> str:
    return text.replace("bool lit = 2;", "string lit = 2;")


def added_field(text: str) -> str:
    return text.replace("bool lit = 2;", "bool lit = 2;\n  // Lumen.\n  int32 brightness = 3;")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A released contract with the modules and rules of this repository; the path has a space in it."""
    root = tmp_path / "a checkout"
    for module in (*baseline.MODULES, "protos/third_party"):
        name = Path(module).name
        source = root / module / f"candela/{name}/v1/lamp.proto"
        source.parent.mkdir(parents=True)
        source.write_text(RELEASED.replace("candela.lamp.v1", f"candela.{name}.v1"))
    shutil.copy(ROOT / "buf.yaml", root)
    monkeypatch.chdir(root)
    baseline.write()
    return root


def breaks(module: str) -> str:
    """Returns what `make lint` would print about a module; an empty string when nothing is broken."""
    done = subprocess.run(baseline.comparison(module), capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (not done.stdout), done.stderr
    return done.stdout


def change(root: Path, module: str, edit: Callable[[str], str]) -> None:
    (path,) = (root / module).rglob("*.proto")
    changed = edit(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)


@pytest.mark.parametrize("module", baseline.MODULES)
@pytest.mark.parametrize("edit", [renamed_field, deleted_field, retyped_field])
def test_a_change_that_breaks_callers_fails(workspace: Path, module: str, edit: Callable[[str], str]) -> None:
    change(workspace, module, edit)
    assert "lamp.proto" in breaks(module)


def test_a_deleted_method_of_the_public_contract_fails(workspace: Path) -> None:
    change(workspace, "protos/public", deleted_method)
    assert 'Previously present RPC "GetLamp"' in breaks("protos/public")


def test_moving_a_message_to_another_file_breaks_only_the_public_contract(workspace: Path) -> None:
    for module in baseline.MODULES:
        (path,) = (workspace / module).rglob("lamp.proto")
        path.rename(path.with_name("lamps.proto"))
    assert "lamp.proto" in breaks("protos/public")
    assert breaks("protos/internal") == ""


@pytest.mark.parametrize("module", baseline.MODULES)
def test_an_added_field_breaks_nothing(workspace: Path, module: str) -> None:
    change(workspace, module, added_field)
    assert breaks(module) == ""


def test_this_repository_has_a_baseline_for_each_module_of_ours() -> None:
    assert [module for module in baseline.MODULES if not (ROOT / baseline.image(module)).is_file()] == []
