"""A test that could not run is listed as not run, with its reason; every other skip stays an ordinary skip."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITE = """
import pytest
from tests.support.binaries import require_binary, requires_binary, requires_package

@pytest.fixture
def program():
    return require_binary("no-such-server")

@requires_binary("no-such-program")
def test_marked():
    raise AssertionError("must not run")

def test_with_a_fixture(program):
    raise AssertionError("must not run")

@requires_package("no_such_package")
def test_with_a_package():
    raise AssertionError("must not run")

@requires_binary("python")
@requires_package("pytest")
def test_whose_program_is_there():
    pass

@pytest.mark.skip(reason="not run today")
def test_skipped():
    pass
"""


def run_suite(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (folder / "test_sample.py").write_text(SUITE)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--color=no",
            "-c",
            ROOT / "pyproject.toml",
            *options,
            folder,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_missing_programs_are_listed_and_counted_apart(tmp_path: Path) -> None:
    result = run_suite(tmp_path)
    assert result.returncode == 0, result.stdout
    lines = [line for line in result.stdout.splitlines() if line.startswith("not run: ")]
    assert len(lines) == 3
    assert "test_marked: no no-such-program on this machine" in lines[0]
    assert "test_with_a_fixture: no no-such-server on this machine" in lines[1]
    assert "test_with_a_package: no Python package no_such_package here" in lines[2]
    last = result.stdout.rstrip().splitlines()[-1]
    assert "1 passed, 1 skipped, 3 not run" in last


def test_folders_that_take_long_or_measure_are_marked(tmp_path: Path) -> None:
    for folder in ("long", "chaos", "bench", "unit"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test_one.py").write_text("def test_one(): pass\n")
    collected = run_suite(tmp_path, "--collect-only", "-q", "-m", "long or bench").stdout
    assert {line.partition("/test_one")[0] for line in collected.splitlines() if "test_one" in line} == {
        "long",
        "chaos",
        "bench",
    }
