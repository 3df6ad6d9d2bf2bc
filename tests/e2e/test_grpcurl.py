"""/candela.binpb is all that grpcurl needs: it lists, describes and calls the public methods.

No server at the edge answers reflection, so the published descriptor set is the only way; nothing internal is in it.
"""

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from services.kit.implemented import PUBLIC_SERVICES
from tests.support.binaries import require_binary
from tests.support.edge import PASSWORD, Edge
from tests.support.mesh import Mesh

_UNAUTHENTICATED = 64 + 16  # grpcurl's exit status for a code


@pytest.fixture(scope="module")
def descriptors(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The descriptor set as anybody gets it."""
    file = tmp_path_factory.mktemp("grpcurl") / "candela.binpb"
    file.write_bytes(httpx.get(f"{mesh.edge}/candela.binpb").raise_for_status().content)
    return file


def grpcurl(descriptors: Path, *arguments: str, status: int = 0) -> str:
    command = [str(require_binary("grpcurl")), "-protoset", str(descriptors), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_lists_what_is_public(descriptors: Path) -> None:
    listed = set(grpcurl(descriptors, "list").split())
    assert set(PUBLIC_SERVICES) <= listed
    assert not [name for name in listed if ".inference." in name or ".erasure." in name]
    methods = grpcurl(descriptors, "list", "candela.user.v1.SessionService").split()
    assert "candela.user.v1.SessionService.DeleteOtherSessions" in methods


def test_it_describes_a_method(descriptors: Path) -> None:
    described = grpcurl(descriptors, "describe", "candela.user.v1.UserService.GetUser")
    assert "GetUserRequest" in described
    assert "Callers see themselves" in described, "comments travel, too"


def test_it_calls(mesh: Mesh, descriptors: Path) -> None:
    with Edge(mesh.edge) as edge:
        email = edge.sign_up()
    login = json.dumps({"identifier": email, "password": PASSWORD})
    method = "candela.user.v1.SessionService/CreateSession"
    grant = json.loads(grpcurl(descriptors, "-plaintext", "-d", login, mesh.target, method))
    token = f"authorization: Bearer {grant['accessToken']}"
    me = ("-d", '{"name": "users/me"}', mesh.target, "candela.user.v1.UserService/GetUser")
    assert json.loads(grpcurl(descriptors, "-plaintext", "-H", token, *me))["email"] == email
    refused = grpcurl(descriptors, "-plaintext", *me, status=_UNAUTHENTICATED)
    assert "Unauthenticated" in refused
    assert "TOKEN_MISSING" in refused, "the details are readable with the published set alone"
