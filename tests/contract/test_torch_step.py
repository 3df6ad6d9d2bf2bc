"""PyTorch is installed where its build is at hand; elsewhere nothing is fetched, and one line says what that means."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pip
import pytest

ROOT = Path(__file__).parents[2]
PIN = "torch==2.13.0+cpu"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with an environment of its own, in which there is only pip."""
    root = tmp_path / "a checkout"
    for path in ("scripts/torch.sh", "requirements/torch.txt"):
        (root / path).parent.mkdir(parents=True)
        shutil.copy(ROOT / path, root / path)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / ".venv"], check=True)
    (own,) = (root / ".venv/lib").glob("python*/site-packages")
    (own / "pip").symlink_to(Path(pip.__file__).parent)  # seconds faster than installing one
    return root


def torch_step(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the step with a pip that finds no package anywhere."""
    environment = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_INDEX": "1"}
    return subprocess.run(
        [root / "scripts/torch.sh", *options],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_never_resolved_to_another_build(checkout: Path) -> None:
    if_possible = torch_step(checkout, "--if-possible")
    assert if_possible.returncode == 0
    assert if_possible.stdout == ""
    assert if_possible.stderr == (
        f"{PIN} cannot be had on this machine: what needs PyTorch will be reported as not run.\n"
    )
    wanted = torch_step(checkout)
    assert wanted.returncode == 1
    assert wanted.stderr == if_possible.stderr

    # A PyTorch of somebody's own is left alone.
    (own,) = (checkout / ".venv/lib").glob("python*/site-packages")
    (own / "torch-9.9.9+cu999.dist-info").mkdir()
    (own / "torch-9.9.9+cu999.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9+cu999\n"
    )
    theirs = torch_step(checkout)
    assert (theirs.returncode, theirs.stdout, theirs.stderr) == (0, "", "")


def test_the_lock_names_the_cpu_build_and_one_file_of_it() -> None:
    lock = (ROOT / "requirements/torch.txt").read_text()
    (block,) = (
        part for part in lock.split("\n\n")[0].replace(" \\\n    ", " ").splitlines() if part.startswith("torch")
    )
    assert block.split()[0] == PIN
    assert block.count("--hash=sha256:") == 1
    assert "nvidia" not in lock
    assert "torchvision" not in lock


def test_it_changes_nothing_that_the_tests_have() -> None:
    def pins(purpose: str) -> dict[str, str]:
        lock = (ROOT / f"requirements/{purpose}.txt").read_text()
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))

    torch, dev = pins("torch"), pins("dev")
    assert "typing-extensions" in torch.keys() & dev.keys()
    assert {name: dev.get(name, version) for name, version in torch.items()} == torch
