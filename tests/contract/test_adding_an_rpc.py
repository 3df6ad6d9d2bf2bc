"""docs/adding-an-rpc.md, followed in a copy of this checkout: four files are edited, and everything else follows.

A method that counts sessions is added as the page says. Then the copy's own suites look at it: the rules of contracts,
the OpenAPI document, the gateway and its golden file, the Python client, the coverage of the conformance cases.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# With the copy and what is generated in it; it is mostly other programs that work.
pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
CONTRACT = "protos/public/candela/user/v1/session_service.proto"
API = "services/user/api/sessions.py"
USE_CASE = "services/user/usecases/sessions.py"
CASES = "tests/conformance/cases/candela.user.v1.SessionService.yaml"

# File → what stands there, and what is written before it; nothing means the end of the file.
EDITS: dict[str, list[tuple[str, str]]] = {
    CONTRACT: [
        (
            "  // Logs a user in.",
            """\
  // Counts the caller's living sessions.
  rpc CountSessions(CountSessionsRequest) returns (CountSessionsResponse) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (candela.auth.v1.access) = {level: LEVEL_AUTHENTICATED};
    option (google.api.http) = {get: "/v1/sessions:count"};
  }

""",
        ),
        (
            "",
            """
// Asks how many sessions there are.
message CountSessionsRequest {}

// How many there are.
message CountSessionsResponse {
  // The number of the caller's living sessions, up to 1,000.
  int32 count = 1;
}
""",
        ),
    ],
    API: [
        (
            "    async def CreateSession(",
            """\
    async def CountSessions(
        self, request: session_service_pb2.CountSessionsRequest, context: Any
    ) -> session_service_pb2.CountSessionsResponse:
        return session_service_pb2.CountSessionsResponse(count=await self._sign_in.count(current_call()))

""",
        )
    ],
    USE_CASE: [
        (
            "    async def end_others(",
            """\
    async def count(self, call: Call) -> int:
        \"\"\"Return how many living sessions the caller has.\"\"\"
        return len((await self.list(call, PageRequest(1000))).items)

""",
        )
    ],
    CASES: [
        (
            "",
            """
  - case: count
    rpc: CountSessions
    reply: {count: 1}

  - case: count-with-a-token-that-is-none
    rpc: CountSessions
    as: {token: nonsense}
    error: {code: UNAUTHENTICATED, reason: TOKEN_INVALID}
""",
        )
    ],
}
# The suites that knew of every method by name, or could have.
SUITES = [
    "tests/contract/test_contract_walk.py",
    "tests/unit/openapi",
    "tests/unit/client/test_methods.py",
    "tests/unit/kit_grpc/test_scopes.py",
    "tests/gateway/test_configuration.py::test_golden",
    "tests/conformance/test_coverage.py::test_every_rpc_has_a_method_in_the_python_client",
    "tests/conformance/test_coverage.py::test_every_rpc_has_a_method_in_the_asynchronous_python_client",
]
_NOT_COPIED = shutil.ignore_patterns("__pycache__", ".git", "node_modules", "gen", "dist", "v1", "validate")
_FOLDERS = (
    "clients/python", "gateway_envoy", "inference_server", "observability", "openapi", "protos", "scripts", "services",
    "supervisor", "tests",
)  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout with the method in it, and with what is generated from it."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in _FOLDERS:
        generated = _NOT_COPIED if name == "clients/python" else shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=generated)
    for name in ("pyproject.toml", "buf.yaml", "buf.gen.yaml"):
        shutil.copy(ROOT / name, copy)
    for name, edits in EDITS.items():
        edit(copy / name, edits)
    run(copy, "-m", "scripts.generate")
    run(copy, "-m", "openapi", "build")
    return copy


def edit(file: Path, edits: list[tuple[str, str]]) -> None:
    text = file.read_text(encoding="utf-8")
    for before, added in edits:
        assert before == "" or text.count(before) == 1, f"{file.name}: {before}"
        text = text.replace(before, f"{added}{before}") if before else text + added
    file.write_text(text, encoding="utf-8")


def run(copy: Path, *command: str) -> str:
    """Runs Python in the copy; fails with what it printed."""
    paths = os.pathsep.join([str(copy), str(copy / "clients" / "python" / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "BUF_CACHE_DIR": str(copy / "build" / "buf-cache")}
    done = subprocess.run(
        [sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    return done.stdout


def test_every_suite_that_looks_at_all_methods_is_content(checkout: Path) -> None:
    done = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={checkout / 'tmp'}", *SUITES)
    assert " passed" in done


def test_the_method_is_everywhere(checkout: Path) -> None:
    document = json.loads((checkout / "build" / "openapi.json").read_text())
    assert document["paths"]["/v1/sessions:count"]["get"]["operationId"] == "SessionService_CountSessions"
    ask = (
        "from gateway_envoy.settings import GatewaySettings, resolve\n"
        "from gateway_envoy.routes import json_routes\n"
        "from candela import Client\n"
        "from services.user.api.sessions import SessionApi\n"
        "routes = json_routes(resolve(GatewaySettings.model_construct()))\n"
        "print([route.name for route in routes if 'count' in route.name])\n"
        "print(callable(Client('localhost:1', tls=False).sessions.count))\n"
        "print('CountSessions' in vars(SessionApi))\n"
    )
    assert run(checkout, "-c", ask).splitlines() == ["['GET /v1/sessions:count']", "True", "True"]


def uncovered(checkout: Path) -> list[str]:
    """Returns what the copy's conformance suite misses of the method."""
    ask = (
        "from tests.conformance.contract import METHODS\n"
        "from tests.conformance.coverage import uncovered\n"
        "from tests.conformance.suite import load\n"
        "print('\\n'.join(uncovered([METHODS['candela.user.v1.SessionService/CountSessions']], load())))\n"
    )
    return run(checkout, "-c", ask).split("\n")[:-1]


def test_its_cases_are_asked_for(checkout: Path) -> None:
    cases = checkout / CASES
    whole = cases.read_text()
    assert uncovered(checkout) == [""]
    cases.write_text((ROOT / CASES).read_text())
    try:
        assert [line.partition(": ")[2] for line in uncovered(checkout)] == ["no case succeeds", "no case fails"]
    finally:
        cases.write_text(whole)
