"""Past the edge, straight to the services, as another user of the machine can: every door asks who is calling."""

import socket
import time
from collections.abc import Iterator

import grpc
import jwt
import pytest

from candela.erasure.v1 import erasure_service_pb2, erasure_service_pb2_grpc
from candela.inference.v1 import ocr_service_pb2, ocr_service_pb2_grpc
from candela.recognition.v1 import recognition_service_pb2, recognition_service_pb2_grpc
from candela.user.v1 import user_service_pb2, user_service_pb2_grpc
from services.kit.keys import SigningKey
from tests.support.edge import Edge
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import memory_bytes

MIB = 2**20

# Door, stub, method and an empty request of one method of each service.
LIST_MINE = ("recognition", recognition_service_pb2_grpc.RecognitionServiceStub, "ListRecognitions")
GET_ME = ("user", user_service_pb2_grpc.UserServiceStub, "GetUser")
DETECT = ("inference", ocr_service_pb2_grpc.OcrServiceStub, "DetectText")
LIST_ERASED = ("user", erasure_service_pb2_grpc.ErasureServiceStub, "ListErasures")
REQUESTS = {
    "ListRecognitions": recognition_service_pb2.ListRecognitionsRequest(),
    "GetUser": user_service_pb2.GetUserRequest(name="users/me"),
    "DetectText": ocr_service_pb2.DetectTextRequest(),
    "ListErasures": erasure_service_pb2.ListErasuresRequest(),
}
Door = tuple[str, type, str]


@pytest.fixture
def ada(mesh: Mesh) -> Iterator[Edge]:
    """Somebody new, signed in."""
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        yield edge


def knock(port: int, door: Door, token: str) -> grpc.StatusCode:
    """Call a method on a port of loopback and return the code of the answer."""
    _, stub, method = door
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            metadata = (("authorization", f"Bearer {token}"),) if token else ()
            getattr(stub(channel), method)(REQUESTS[method], metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def service_token(mesh: Mesh, key: str, **claims: object) -> str:
    """Return a service token signed with a key of the mesh."""
    signing, now = SigningKey.load(mesh.data.keys / key), int(time.time())
    whole = {"iss": "candela-mesh", "sub": "recognition", "tenant": "default", "iat": now, "exp": now + 60, **claims}
    return jwt.encode(whole, signing.private, "EdDSA", {"kid": signing.kid})


@pytest.mark.parametrize("door", [LIST_MINE, GET_ME, DETECT, LIST_ERASED], ids=lambda door: door[2])
@pytest.mark.parametrize("way", ["direct", "internal"])
def test_nobody_enters_without_a_token(mesh: Mesh, door: Door, way: str) -> None:
    port = mesh.ports.internal if way == "internal" else mesh.ports.service(door[0])
    expected = {grpc.StatusCode.UNAUTHENTICATED}
    if way == "internal" and door is LIST_ERASED:
        expected.add(grpc.StatusCode.UNIMPLEMENTED)  # it may have no route there
    assert knock(port, door, "") in expected


@pytest.mark.parametrize("door", [DETECT, LIST_ERASED], ids=lambda door: door[2])
def test_a_user_does_not_enter_where_services_do(mesh: Mesh, ada: Edge, door: Door) -> None:
    assert knock(mesh.ports.service(door[0]), door, ada.token) is grpc.StatusCode.PERMISSION_DENIED
    assert knock(mesh.ports.edge, door, ada.token) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("door", [DETECT, LIST_ERASED], ids=lambda door: door[2])
def test_a_service_token_opens_the_one_door_it_is_for(mesh: Mesh, door: Door) -> None:
    port = mesh.ports.service(door[0])
    right = service_token(mesh, "mesh.pem", aud=door[0])
    assert knock(port, door, right) not in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
    for wrong in (
        service_token(mesh, "mesh.pem", aud="payment"),
        service_token(mesh, "mesh.pem", aud=[door[0], "payment"]),
        service_token(mesh, "mesh.pem", aud=door[0], exp=int(time.time()) - 600),
        service_token(mesh, "user-token.pem", aud=door[0]),
    ):
        assert knock(port, door, wrong) is grpc.StatusCode.UNAUTHENTICATED


def test_a_service_in_its_own_name_is_no_user(mesh: Mesh) -> None:
    own = service_token(mesh, "mesh.pem", aud="recognition", sub="user")
    assert knock(mesh.ports.service("recognition"), LIST_MINE, own) is grpc.StatusCode.PERMISSION_DENIED
    assert knock(mesh.ports.edge, LIST_MINE, own) is grpc.StatusCode.UNAUTHENTICATED


def test_the_key_of_the_mesh_signs_no_user(mesh: Mesh, ada: Edge) -> None:
    signing = SigningKey.load(mesh.data.keys / "mesh.pem")
    claims = jwt.decode(ada.token, options={"verify_signature": False}) | {"role": "ADMIN"}
    forged = jwt.encode(claims, signing.private, "EdDSA", {"kid": signing.kid})
    for port in (mesh.ports.edge, mesh.ports.internal, mesh.ports.service("user")):
        assert knock(port, GET_ME, forged) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("way", ["edge", "recognition"])
def test_a_message_that_unpacks_to_very_much_is_refused(mesh: Mesh, ada: Edge, way: str) -> None:
    """64 MiB of zeros in a gRPC message compressed to 64 KiB, in a field that nobody knows."""
    unknown_field = b"\xc2\x3e\x80\x80\x80\x20" + bytes(64 * MIB)
    port = mesh.ports.edge if way == "edge" else mesh.ports.service("recognition")
    before = memory_bytes(mesh)
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_send_message_length", -1)]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/candela.recognition.v1.RecognitionService/RecognizeDocument"
        )
        with pytest.raises(grpc.RpcError) as refused:
            call(
                unknown_field,
                metadata=(("authorization", f"Bearer {ada.token}"),),
                compression=grpc.Compression.Gzip,
                timeout=30,
            )
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert memory_bytes(mesh) - before < 100 * MIB


def test_a_compressed_body_is_no_json(ada: Edge) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    response = ada.call("POST", "/v1/documents:recognize", content=b"\x1f\x8b\x08" + bytes(100), headers=headers)
    assert response.status_code == 400


def test_redis_asks_for_its_password(mesh: Mesh) -> None:
    with socket.create_connection(("127.0.0.1", mesh.ports.redis), timeout=20) as stranger:
        stranger.sendall(b"PING\r\n")
        assert stranger.recv(100).startswith(b"-NOAUTH")


def test_what_the_mesh_keeps_is_for_its_owner_only(mesh: Mesh) -> None:
    for path in (mesh.data.root, *mesh.data.root.rglob("*")):
        assert path.is_symlink() or not path.stat().st_mode & 0o077, path
