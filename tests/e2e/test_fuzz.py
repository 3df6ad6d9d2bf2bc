"""The whole published document against the running mesh: thousands of calls that nobody would write.

schemathesis makes them from the document: its examples, the edges of every limit, wrong types, missing and doubled
parameters, verbs that a path does not have, random values of every kind. No call may end in a server error, and every
answer must be one that the document tells of. The cases are the same on every run. Calls that build on each other's
answers are not made here but in tests/conformance: the sequences that schemathesis can think of reach few operations.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.edge import Edge
from tests.support.mesh import Mesh

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).parent / "schemathesis.toml"


@dataclass(frozen=True)
class Run:
    """What one run of schemathesis found."""

    cases: int
    seconds: float
    operations: dict[str, Any]
    findings: list[dict[str, Any]]
    output: str

    def holds(self, least: int) -> None:
        """Fails for a finding, an operation that was not tried, or fewer cases than were wanted."""
        print(f"schemathesis: {self.cases} cases in {self.seconds:.0f} s")
        assert self.findings == [], self.output[-12000:]
        assert self.operations["tested"] == self.operations["selected"] > 40
        assert self.cases >= least


def fuzz(mesh: Mesh, token: str, folder: Path, *, phases: str, examples: int) -> Run:
    """Runs schemathesis as the caller whose token is given; `examples` bounds the random cases of an operation."""
    report = folder / "report.json"
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(CONFIG), "run",
        f"{mesh.edge}/openapi.json", "--header", f"Authorization: Bearer {token}", "--phases", phases,
        "--max-examples", str(examples), "--no-shrink", "--suppress-health-check", "all", "--warnings", "off",
        "--request-timeout", "30", "--report", "json", "--report-json-path", str(report),
    ]  # fmt: skip
    paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python" / "src")])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert report.is_file(), output[-8000:]
    found = json.loads(report.read_text())
    return Run(
        found["test_cases"]["generated"],
        found["running_time"],
        found["operations"],
        found["failures"] + found["errors"],
        output,
    )


@pytest.fixture(scope="module")
def user(mesh: Mesh) -> str:
    """The token of somebody new."""
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        return edge.token


@pytest.fixture(scope="module")
def admin(mesh: Mesh) -> str:
    """The token of somebody new whom `make admin` has made an admin."""
    with Edge(mesh.edge) as edge:
        email = edge.sign_up()
        own = {"CANDELA_DATA_DIR": str(mesh.data.root), "CANDELA_PORT_BASE": str(mesh.ports.base)}
        make = [sys.executable, "-m", "services.user.main", "make-admin", email]
        subprocess.run(make, cwd=ROOT, env={**os.environ, **own}, check=True, capture_output=True)
        token: str = edge.log_in(email).raise_for_status().json()["accessToken"]
        return token


def test_some_hundred_cases(mesh: Mesh, admin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fuzz(mesh, admin, tmp_path, phases="examples,fuzzing", examples=6)
    with capsys.disabled():
        run.holds(300)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("who", ["user", "admin"])
def test_thousands_of_cases(
    mesh: Mesh, who: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fuzz(mesh, request.getfixturevalue(who), tmp_path, phases="examples,coverage,fuzzing", examples=25)
    with capsys.disabled():
        run.holds(2_000)
