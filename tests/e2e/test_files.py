"""Files through the real edge: JSON and gRPC, small and large, kept from others, harmless to a browser."""

import base64
import hashlib
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from candela.user.v1 import file_service_pb2
from candela.user.v1.file_service_pb2_grpc import FileServiceStub
from tests.support.edge import Edge, reason_of
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import memory_bytes
from tests.support.printed_page import png, print_page

pytestmark = pytest.mark.timeout(180)

MIB = 2**20


@pytest.fixture
def ada(mesh: Mesh) -> Iterator[Edge]:
    """Somebody new, signed in."""
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        yield edge


def create(edge: Edge, content: bytes, filename: str = "a.txt", **fields: object) -> dict[str, str]:
    """Store a file and return what is said of it."""
    body = {"filename": filename, "content": base64.b64encode(content).decode(), **fields}
    response = edge.call("POST", "/v1/files", body)
    assert response.status_code == 200, response.text
    file: dict[str, str] = response.json()
    return file


def write(edge: Edge, upload: str, offset: int, content: bytes) -> dict[str, str]:
    """Send a piece and return the upload."""
    body = {"offset": str(offset), "content": base64.b64encode(content).decode()}
    response = edge.call("POST", f"/v1/{upload}:write", body)
    assert response.status_code == 200, response.text
    after: dict[str, str] = response.json()
    return after


def test_a_file_from_its_bytes_to_its_end(mesh: Mesh, ada: Edge) -> None:
    content = b"h\xc3\xa9llo"
    file = create(ada, content, "gr\u00fc\u00dfe \u4f60.txt")
    assert file["contentType"] == "text/plain"
    assert file["sizeBytes"] == str(len(content))
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert ada.call("GET", f"/v1/{file['name']}").json() == file
    assert [one["name"] for one in ada.call("GET", "/v1/files").json()["files"]] == [file["name"]]
    assert ada.call("GET", "/v1/files", params={"contentTypePrefix": "image/"}).json()["files"] == []
    response = ada.call("GET", f"/v1/{file['name']}:download")
    assert response.content == content
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert response.headers["content-disposition"] == (
        "attachment; filename=\"gr__e _.txt\"; filename*=UTF-8''gr%C3%BC%C3%9Fe%20%E4%BD%A0.txt"
    )
    part = ada.call("GET", f"/v1/{file['name']}:download", params={"offset": 3, "limit": 2})
    assert part.content == content[3:5]
    assert ada.call("GET", f"/v1/{file['name']}:download", params={"offset": 6}).content == b""
    beyond = ada.call("GET", f"/v1/{file['name']}:download", params={"offset": 7})
    assert (beyond.status_code, reason_of(beyond)) == (400, "INVALID_ARGUMENT")
    assert ada.call("DELETE", f"/v1/{file['name']}").status_code == 200
    for path in (f"/v1/{file['name']}", f"/v1/{file['name']}:download"):
        gone = ada.call("GET", path)
        assert (gone.status_code, reason_of(gone)) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        pytest.param(b"<!doctype html><script>alert(1)</script>", "text/html", id="html"),
        pytest.param(b"<svg onload='alert(1)'/>", "image/svg+xml", id="svg"),
        pytest.param(b"PK\x03\x04" + bytes(30), "application/zip", id="zip named png"),
        pytest.param(b"\0\1\2", "application/octet-stream", id="unknown"),
    ],
)
def test_what_a_file_says_does_not_run(ada: Edge, content: bytes, content_type: str) -> None:
    file = create(ada, content, 'x".png')
    assert file["contentType"] == content_type
    response = ada.call("GET", f"/v1/{file['name']}:download")
    assert response.content == content
    assert response.headers["content-type"] == content_type
    assert response.headers["content-disposition"].startswith('attachment; filename="x_.png"')
    assert "sandbox" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_largest_file_in_one_call(mesh: Mesh, ada: Edge) -> None:
    content = os.urandom(32 * MIB)
    digest = hashlib.sha256(content).hexdigest()
    over_json = create(ada, content)
    assert over_json["sha256"] == digest
    with grpc.insecure_channel(mesh.target) as channel:
        files, metadata = FileServiceStub(channel), (("authorization", f"Bearer {ada.token}"),)
        request = file_service_pb2.CreateFileRequest(filename="a.bin", content=content)
        over_grpc = files.CreateFile(request, metadata=metadata)
        assert over_grpc.sha256 == digest
        parts = list(
            files.DownloadFile(file_service_pb2.DownloadFileRequest(name=over_json["name"]), metadata=metadata)
        )
        assert max(len(part.data) for part in parts) <= MIB
        assert b"".join(part.data for part in parts) == content
        request.content += b"x"
        with pytest.raises(grpc.RpcError) as refused:
            files.CreateFile(request, metadata=metadata)
        assert refused.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    downloaded = ada.call("GET", f"/v1/{over_grpc.name}:download")
    assert hashlib.sha256(downloaded.content).hexdigest() == digest


def test_a_large_file_in_pieces_that_goes_on_after_a_break(mesh: Mesh, ada: Edge) -> None:
    content = os.urandom(20 * MIB + 5)
    upload = ada.call("POST", "/v1/uploads", {"filename": "big.bin", "sizeBytes": str(len(content))}).json()
    assert upload["receivedBytes"] == "0"
    assert write(ada, upload["name"], 0, content[: 8 * MIB])["receivedBytes"] == str(8 * MIB)
    gap = ada.call("POST", f"/v1/{upload['name']}:write", {"offset": str(9 * MIB), "content": "eA=="})
    assert (gap.status_code, reason_of(gap)) == (400, "FAILED_PRECONDITION")
    assert gap.json()["error"]["details"][0]["metadata"] == {"received_bytes": str(8 * MIB)}
    mesh.wait_until_back("user", mesh.kill("user"), timeout=15)
    with Edge(mesh.edge, token=ada.token) as again:  # another machine, which knows the upload's name only
        eventually_sync(lambda: again.call("GET", f"/v1/{upload['name']}").status_code == 200, timeout=10)
        at = int(again.call("GET", f"/v1/{upload['name']}").json()["receivedBytes"])
        assert at == 8 * MIB
        while at < len(content):
            at = int(write(again, upload["name"], at, content[at : at + 8 * MIB])["receivedBytes"])
        wrong = again.call("POST", f"/v1/{upload['name']}:complete", {"sha256": "0" * 64})
        assert (wrong.status_code, reason_of(wrong)) == (400, "INVALID_ARGUMENT")
        done = again.call("POST", f"/v1/{upload['name']}:complete", {"sha256": hashlib.sha256(content).hexdigest()})
        assert done.status_code == 200, done.text
        assert again.call("GET", f"/v1/{done.json()['name']}:download").content == content
        assert again.call("GET", f"/v1/{upload['name']}").status_code == 404


def test_an_uploaded_document_is_read(ada: Edge) -> None:
    file = create(ada, png(print_page(["Lighthouse"])), "page.png")
    response = ada.call("POST", "/v1/documents:recognize", {"file": file["name"]})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["document"]["text"] == "Lighthouse\n"
    assert (answer["source"]["sha256"], answer["source"]["contentType"]) == (file["sha256"], "image/png")
    text = create(ada, b"plain text")
    unreadable = ada.call("POST", "/v1/documents:recognize", {"file": text["name"]})
    assert (unreadable.status_code, reason_of(unreadable)) == (400, "MEDIA_UNSUPPORTED")


def test_files_of_others_are_not_there(mesh: Mesh, ada: Edge) -> None:
    file = create(ada, png(print_page(["Mine"])))
    with Edge(mesh.edge) as eve:
        eve.sign_up()
        for response in (
            eve.call("GET", f"/v1/{file['name']}"),
            eve.call("GET", f"/v1/{file['name']}:download"),
            eve.call("DELETE", f"/v1/{file['name']}"),
            eve.call("POST", "/v1/documents:recognize", {"file": file["name"]}),
        ):
            assert (response.status_code, reason_of(response)) == (404, "NOT_FOUND")
            assert response.json()["error"]["details"][0]["metadata"] == {"name": file["name"]}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("/v1/files", {"filename": "../x", "content": "eA=="}, 400, id="a path"),
        pytest.param("/v1/files", {"filename": "a\nb", "content": "eA=="}, 400, id="a line break"),
        pytest.param("/v1/files", {"filename": "exe.\u202egpj", "content": "eA=="}, 400, id="turned around"),
        pytest.param("/v1/files", {"filename": "x" * 256, "content": "eA=="}, 400, id="long name"),
        pytest.param("/v1/files", {"filename": "a", "content": "%%% no base64"}, 400, id="no base64"),
        pytest.param("/v1/files", {"filename": "a", "content": ""}, 400, id="empty"),
        pytest.param("/v1/uploads", {"filename": "a", "sizeBytes": "0"}, 400, id="no bytes"),
        pytest.param("/v1/uploads", {"filename": "a", "sizeBytes": str(2**31 + 1)}, 400, id="over 2 GiB"),
        pytest.param("/v1/uploads", {"filename": "a", "sizeBytes": str(2**63)}, 400, id="overflow"),
        pytest.param("/v1/uploads", {"filename": "a", "sizeBytes": "-1"}, 400, id="negative"),
        pytest.param("/v1/uploads/none:write", {"offset": "0", "content": "eA=="}, 404, id="no such upload"),
        pytest.param("/v1/uploads/none:write", {"offset": "-1", "content": "eA=="}, 400, id="negative offset"),
        pytest.param("/v1/uploads/none:write", {"offset": str(2**63), "content": "eA=="}, 400, id="offset overflow"),
        pytest.param("/v1/uploads/none:complete", {"sha256": "ABC"}, 400, id="no digest"),
    ],
)
def test_hostile_requests(ada: Edge, path: str, body: dict[str, str], status: int) -> None:
    response = ada.call("POST", path, body)
    assert response.status_code == status, response.text
    assert reason_of(response) in {"INVALID_ARGUMENT", "MALFORMED_BODY", "NOT_FOUND"}


def test_many_large_files_at_once_are_stored_or_told_to_come_back(mesh: Mesh, ada: Edge) -> None:
    body = {"filename": "a", "content": base64.b64encode(bytes(24 * MIB)).decode()}
    before, pids = memory_bytes(mesh), mesh.pids()

    def send(_: int) -> int:
        with Edge(mesh.edge, token=ada.token) as edge:
            response = edge.call("POST", "/v1/files", {**body, "requestId": str(uuid.uuid4())}, timeout=120)
        assert response.status_code in {200, 429, 503}, response.text
        return response.status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(16)))
    assert answers.count(200) >= 4
    assert mesh.pids() == pids
    assert memory_bytes(mesh) - before < 1500 * MIB
    assert len(ada.call("GET", "/v1/files").json()["files"]) == answers.count(200)


def test_an_erased_account_takes_its_files_with_it(mesh: Mesh, ada: Edge) -> None:
    user = ada.call("GET", "/v1/users/me").json()["name"].removeprefix("users/")
    create(ada, b"forget me")
    upload = ada.call("POST", "/v1/uploads", {"filename": "b", "sizeBytes": "9"}).json()
    write(ada, upload["name"], 0, b"me")
    folder = mesh.data.root / "objects" / "default" / user
    assert len(list(folder.rglob("*.bin"))) == 2
    assert ada.call("DELETE", "/v1/users/me").status_code == 200
    eventually_sync(lambda: not folder.exists(), timeout=30)
