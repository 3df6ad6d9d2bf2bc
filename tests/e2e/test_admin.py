"""The first admin of a fresh mesh, and what admins do, over JSON: register → make admin → list, suspend, give roles."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.edge import Edge, reason_of
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh

_ROOT = Path(__file__).parents[2]
_SECONDS = 3.0  # a second is promised; the rest is room for a busy machine


def make_admin(mesh: Mesh, *who: str) -> subprocess.CompletedProcess[str]:
    """Run what `make admin` runs, on the mesh's data."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CANDELA_")}
    environment |= {
        "CANDELA_DATA_DIR": str(mesh.data.root),
        "CANDELA_PORT_BASE": str(mesh.ports.base),
        "PYTHONPATH": f"{_ROOT}:{_ROOT / 'clients/python/src'}",
    }
    command = [sys.executable, "-m", "services.user.main", "make-admin", *who]
    return subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def admin(mesh: Mesh) -> Iterator[Edge]:
    """An admin, signed in."""
    with Edge(mesh.edge) as edge:
        email = edge.sign_up()
        done = make_admin(mesh, email)
        assert (done.returncode, done.stderr) == (0, "")
        edge.token = edge.log_in(email).json()["accessToken"]
        yield edge


@pytest.fixture
def ada(mesh: Mesh) -> Iterator[Edge]:
    """Somebody new, signed in."""
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        yield edge


def name_of(edge: Edge) -> str:
    return str(edge.call("GET", "/v1/users/me").json()["name"])


def is_out(edge: Edge, path: str) -> bool:
    return edge.call("GET", path).status_code == 401


def test_the_first_admin(mesh: Mesh) -> None:
    with Edge(mesh.edge) as edge:
        email = edge.sign_up()
        refused = edge.call("GET", "/v1/users")
        assert (refused.status_code, reason_of(refused)) == (403, "PERMISSION_DENIED")
        done = make_admin(mesh, email)
        assert done.stdout.startswith(f"{email} (users/")
        assert "is an admin now; was FREE" in done.stdout
        # The token of before is refused, and a new one has all permissions.
        eventually_sync(lambda: edge.call("GET", "/v1/users/me").status_code == 401, timeout=_SECONDS)
        edge.token = edge.log_in(email).json()["accessToken"]
        listed = edge.call("GET", "/v1/users", params={"query": email.upper()})
        assert [user["email"] for user in listed.raise_for_status().json()["users"]] == [email]
        assert listed.json()["users"][0]["role"] == "ROLE_ADMIN"
        assert "already" in make_admin(mesh, email).stdout


@pytest.mark.parametrize(
    ("who", "says"), [(["nobody@example.com"], "register first"), (["no identifier"], "no e-mail"), ([], "usage")]
)
def test_nobody_is_made_an_admin_by_mistake(mesh: Mesh, who: list[str], says: str) -> None:
    done = make_admin(mesh, *who)
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_suspended_user_is_out_everywhere_within_a_second(mesh: Mesh, admin: Edge, ada: Edge) -> None:
    ada_name = name_of(ada)
    body = {"displayName": "k", "scopes": ["API_KEY_SCOPE_RECOGNITION", "API_KEY_SCOPE_FILES"]}
    secret = ada.call("POST", "/v1/apiKeys", body).raise_for_status().json()["secret"]
    with Edge(mesh.edge, token=secret) as program:
        assert program.call("GET", "/v1/recognitions").status_code == 200
        assert program.call("GET", "/v1/files").status_code == 200
        body = {"reason": "spam", "requestId": str(uuid.uuid4())}
        shut = admin.call("POST", f"/v1/{ada_name}:suspend", body).raise_for_status()
        assert shut.json()["state"] == "STATE_SUSPENDED"
        for edge in (program, ada):
            for path in ("/v1/recognitions", "/v1/files"):
                eventually_sync(partial(is_out, edge, path), timeout=_SECONDS)
        again = admin.call("POST", f"/v1/{ada_name}:suspend", body)
        assert again.content == shut.content
        admin.call("POST", f"/v1/{ada_name}:reinstate", {"reason": "sorry"}).raise_for_status()
        assert program.call("GET", "/v1/files").status_code == 401


def test_a_role_counts_within_a_second_and_the_audit_log_knows(mesh: Mesh, admin: Edge, ada: Edge) -> None:
    ada_name = name_of(ada)
    admin.call("POST", f"/v1/{ada_name}:setRole", {"role": "ROLE_ENTERPRISE"}).raise_for_status()
    eventually_sync(lambda: ada.call("GET", "/v1/users/me").status_code == 401, timeout=_SECONDS)
    events = (
        admin.call("GET", "/v1/auditEvents", params={"resource": ada_name}).raise_for_status().json()["auditEvents"]
    )
    event = events[0]
    assert event["action"] == "user.role_set"
    assert event["changes"] == ["role: FREE → ENTERPRISE"]
    assert event["method"] == "candela.user.v1.UserAdminService/SetUserRole"
    assert (event["user"], event["resource"]) == (name_of(admin), ada_name)
    assert len(event["traceId"]) == 32
    denied = admin.call("GET", "/v1/auditEvents", params={"user": ada_name, "outcome": "OUTCOME_DENIED"})
    assert denied.json()["auditEvents"] == []
    verified = admin.call("GET", "/v1/auditEvents:verify").raise_for_status().json()
    assert verified["firstBroken"] == ""
    assert int(verified["checkedCount"]) >= int(event["name"].partition("/")[2])


def test_nobody_else_administrates(mesh: Mesh, admin: Edge, ada: Edge) -> None:
    me = name_of(ada)
    for method, path, body in (
        ("GET", "/v1/users", None),
        ("POST", f"/v1/{me}:setRole", {"role": "ROLE_ADMIN"}),
        ("POST", f"/v1/{me}:suspend", {"reason": "x"}),
        ("POST", f"/v1/{me}:reinstate", {"reason": "x"}),
        ("GET", "/v1/auditEvents", None),
        ("GET", "/v1/auditEvents:verify", None),
    ):
        refused = ada.call(method, path, body)
        assert (refused.status_code, reason_of(refused)) == (403, "PERMISSION_DENIED"), path
    own = admin.call("POST", f"/v1/{name_of(admin)}:suspend", {"reason": "x"})
    assert (own.status_code, reason_of(own)) == (400, "FAILED_PRECONDITION")
