"""`kill -9` of the user service while files and pieces arrive: nothing acknowledged is lost, nothing is unknown."""

import base64
import hashlib
import os
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.support.edge import Edge
from tests.support.load import at_work, kill_while, until_acknowledged
from tests.support.mesh import Mesh

pytestmark = pytest.mark.timeout(300)

_PIECES = 3
_PIECE_BYTES = 200_000


def store_into(mesh: Mesh, token: str, acknowledged: list[str], digests: dict[str, str]) -> Callable[[], None]:
    """Return the work of sending a file in pieces, each until it is acknowledged, and noting its name and SHA-256."""

    def send(edge: Edge, path: str, body: dict[str, str]) -> dict[str, str]:
        repeatable = {**body, "requestId": str(uuid.uuid4())}
        answer: dict[str, str] = until_acknowledged(lambda: edge.call("POST", path, repeatable)).json()
        return answer

    def store() -> None:
        content = os.urandom(_PIECES * _PIECE_BYTES)
        with Edge(mesh.edge, token=token) as edge:
            upload = send(edge, "/v1/uploads", {"filename": "a", "sizeBytes": str(len(content))})["name"]
            for at in range(0, len(content), _PIECE_BYTES):
                piece = base64.b64encode(content[at : at + _PIECE_BYTES]).decode()
                after = send(edge, f"/v1/{upload}:write", {"offset": str(at), "content": piece})
                assert after["receivedBytes"] == str(at + _PIECE_BYTES)
            digest = hashlib.sha256(content).hexdigest()
            name = send(edge, f"/v1/{upload}:complete", {"sha256": digest})["name"]
        digests[name] = digest
        acknowledged.append(name)

    return store


def rows(mesh: Mesh, query: str) -> set[str]:
    with closing(sqlite3.connect(mesh.data.root / "db" / "user.sqlite3")) as database:
        return {str(row[0]) for row in database.execute(query)}


def test_no_piece_is_lost_and_no_object_unknown(mesh: Mesh) -> None:
    acknowledged: list[str] = []
    digests: dict[str, str] = {}
    with Edge(mesh.edge) as ada:
        ada.sign_up()
        with at_work(store_into(mesh, ada.token, acknowledged, digests)):
            kill_while(mesh, "user", acknowledged)
        listed = ada.call("GET", "/v1/files", params={"pageSize": 1000}).json()["files"]
        assert {file["name"] for file in listed} == set(acknowledged)
        for name in acknowledged:
            content = ada.call("GET", f"/v1/{name}:download").content
            assert hashlib.sha256(content).hexdigest() == digests[name]
    top = mesh.data.root / "objects"
    stored = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
    whole = {name for name in stored if "#" not in name}
    pieces, strays = rows(mesh, "SELECT object FROM file_pieces"), rows(mesh, "SELECT object FROM stray_objects")
    assert pieces <= whole
    assert {name.partition("#")[0] for name in stored} <= pieces | strays
