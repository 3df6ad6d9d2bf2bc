"""What docs/inference.md tells people to paste works as it stands there, against a real mesh."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mesh import Mesh

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "inference.md"


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)


def pasted(mesh: Mesh, lines: str) -> str:
    """Run lines in the repository and return what they printed; they must succeed."""
    lines = lines.replace(".candela/", f"{mesh.data.root}/").replace("8092", str(mesh.ports.service("inference")))
    lines = lines.replace(".venv/bin/python", sys.executable)
    env = {**os.environ, "CANDELA_DATA_DIR": str(mesh.data.root), "CANDELA_PORT_BASE": str(mesh.ports.base)}
    command = [shutil.which("bash") or "bash", "-euo", "pipefail", "-c", lines]
    done = subprocess.run(command, cwd=_ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(120)
def test_a_model_is_called_from_a_shell(mesh: Mesh) -> None:
    [call] = [block for block in blocks() if "EmbedTexts" in block]
    assert pasted(mesh, call).split() == ["sentence-embed@use-multilingual-3", "[512,", "512]"]


@pytest.mark.timeout(180)
def test_the_lines_about_seeing_and_loading_models(mesh: Mesh) -> None:
    [lines] = [block for block in blocks() if "make models JSON=1" in block]
    shown = pasted(mesh, lines)
    assert '"MODEL_STATE_READY"' in shown
    assert "◌ unloading" in shown
    last = shown.rpartition("\ninference  ")[2]
    assert next(line for line in last.splitlines() if line.startswith("ppocr-rec@")).split()[1:3] == ["●", "ready"]
