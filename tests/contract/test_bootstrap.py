"""The virtual environment: made once, healed after an interruption, remade when the checkout moves."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "cat", "cut", "dirname", "flock", "grep", "id", "mkdir", "rm", "sed", "sha256sum", "tail", "touch")

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that needs no packages, so that only the environment itself is made; the path has a space in it."""
    root = tmp_path / "a checkout"
    (root / "scripts").mkdir(parents=True)
    (root / "requirements").mkdir()
    shutil.copy(ROOT / "scripts/bootstrap.sh", root / "scripts")
    for purpose in ("run", "dev"):
        (root / f"requirements/{purpose}.txt").touch()
    return root


def bootstrap(root: Path, purpose: str = "run", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [root / "scripts/bootstrap.sh", purpose],
        cwd="/",
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_made_once_healed_and_remade_after_a_move(checkout: Path) -> None:
    first = bootstrap(checkout)
    assert first.returncode == 0, first.stderr
    assert "making the virtual environment" in first.stdout
    assert bootstrap(checkout).stdout == "", "nothing is left to do"

    (checkout / "requirements/dev.txt").write_text("# another lock\n")
    changed = bootstrap(checkout, "dev")
    assert "installing" in changed.stdout
    assert "making" not in changed.stdout, "a new lock does not need a new environment"
    assert bootstrap(checkout, "run").stdout == "", "who has what tests need has what a run needs"

    (checkout / ".venv/.installing").touch()
    assert "making the virtual environment" in bootstrap(checkout, "dev").stdout, (
        "an interrupted installation is redone"
    )

    moved = checkout.rename(checkout.with_name("moved"))
    assert "making the virtual environment" in bootstrap(moved, "dev").stdout
    assert str(moved) in (moved / ".venv/pyvenv.cfg").read_text()


def test_an_installation_that_fails_is_shown_and_not_taken_for_done(checkout: Path) -> None:
    (checkout / "requirements/run.txt").write_text("candela-is-on-no-index==0 --hash=sha256:00\n")
    failed = bootstrap(checkout, PIP_NO_INDEX="1")
    assert failed.returncode == 1
    assert "requirements/run.txt could not be installed" in failed.stderr
    assert (checkout / ".venv/.installing").exists(), "the next call starts anew"


@pytest.mark.parametrize("script", ["exit 1", 'case "$2" in *ensurepip*) exit 1 ;; *version_info*) exit 0 ;; esac'])
def test_a_machine_without_python_or_venv_is_told_what_to_install(checkout: Path, tmp_path: Path, script: str) -> None:
    programs = tmp_path / "programs"  # no apt-get among them, so that nothing is installed here
    programs.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (programs / tool).symlink_to(found)
    python = programs / "python3.11"
    python.write_text(f"#!/bin/bash\n{script}\n")
    python.chmod(0o755)
    result = bootstrap(checkout, PATH=str(programs), PYTHON="python3.11")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Candela needs Python 3.11 or newer with venv and pip: apt-get install ")
    assert result.stderr.count("\n") == 1
