"""What docs/files.md tells people to paste works as it stands there, against a real mesh."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mesh import Mesh

_PAGE = Path(__file__).parents[2] / "docs" / "files.md"


@pytest.mark.timeout(120)
def test_the_lines_of_the_page(mesh: Mesh, tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    lines = "".join(blocks).replace("localhost:8080", mesh.target)
    # python3 of these lines is whichever there is; the one that runs the tests is one.
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").symlink_to(sys.executable)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    bash = shutil.which("bash") or "bash"
    command = [bash, "-euo", "pipefail", "-c", lines]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"contentType":"text/plain"' in done.stdout.replace(" ", "")
    assert "diary" in done.stdout
    assert (tmp_path / "big.bin").read_bytes() == (tmp_path / "big.back").read_bytes()
