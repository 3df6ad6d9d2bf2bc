"""Bytes from strangers, through the real edge: a clean 4xx with a reason, and every process still alive."""

import base64
import io
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.edge import Edge, reason_of
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import memory_bytes
from tests.support.printed_page import png, print_page

MIB = 2**20


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(more: bytes, width: int = 10, height: int = 10) -> bytes:
    """Return a PNG with more chunks before its pixels, of which there are few."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND")


def claims_65k() -> bytes:
    """A PNG header that claims 65,000 × 65,000 pixels: 12 GiB decoded."""
    return with_chunks(b"", 65_000, 65_000)


def many_chunks() -> bytes:
    return with_chunks(chunk(b"teXt") * 10**6)


def long_text() -> bytes:
    return with_chunks(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(256 * MIB))))


def many_scans() -> bytes:
    """A JPEG whose last scan comes 100,000 times: each touches every block of the picture."""
    out = io.BytesIO()
    print_page([]).save(out, "JPEG", progressive=True)
    content = out.getvalue()
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * 100_000 + content[-2:]


@pytest.fixture
def ada(mesh: Mesh) -> Iterator[Edge]:
    """Somebody new, signed in."""
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        yield edge


@pytest.fixture(autouse=True)
def nothing_dies_or_swells(mesh: Mesh) -> object:
    """Every test here ends with the processes it began with, and without much more memory."""
    pids, before = mesh.pids(), memory_bytes(mesh)
    yield
    assert mesh.pids() == pids
    assert memory_bytes(mesh) - before < 600 * MIB


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "MEDIA_UNREADABLE", id="empty"),
        pytest.param(b"plain text", "MEDIA_UNSUPPORTED", id="not a picture"),
        pytest.param(png(print_page(["cut"]))[:400], "MEDIA_UNREADABLE", id="truncated"),
        pytest.param(claims_65k(), "MEDIA_TOO_LARGE", id="65k x 65k"),
        pytest.param(b"%PDF-1.7 nothing", "MEDIA_UNREADABLE", id="broken pdf"),
        pytest.param(many_scans(), "MEDIA_UNREADABLE", id="a scan again and again"),
        pytest.param(many_chunks(), "MEDIA_UNREADABLE", id="a million chunks"),
        pytest.param(long_text(), "MEDIA_UNREADABLE", id="256 MiB of text in 256 KiB"),
    ],
)
def test_bad_documents(ada: Edge, content: bytes, reason: str) -> None:
    response = ada.recognize(content)
    assert response.status_code == 400, response.text
    assert reason_of(response) == reason


def test_each_of_many_broken_pdfs_is_told_what_is_wrong_with_it(ada: Edge) -> None:
    """A PDF is opened in a process of its own; starting one beside gRPC's threads must not fail by chance."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ada.recognize(b"%PDF-1.7 nothing"), range(24)))
    told = {(answer.status_code, answer.json()["error"]["message"]) for answer in answers}
    assert told == {(400, "the document cannot be read: it is damaged")}


def test_33_mib_are_too_large(ada: Edge) -> None:
    response = ada.recognize(b"\xff\xd8\xff" + b"x" * (33 * MIB))
    assert response.status_code == 413
    assert reason_of(response) == "REQUEST_TOO_LARGE"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{" * 10, id="malformed"),
        pytest.param(b'{"content":' + b"[" * 50_000 + b"]" * 50_000 + b"}", id="deep"),
        pytest.param(b'{"content": 7, "includeCharacters": "maybe"}', id="wrong types"),
        pytest.param(b'{"content": "%%% not base64"}', id="not base64"),
        pytest.param(b"[]", id="not an object"),
        pytest.param(b"\xff\xfe\x00", id="not utf-8"),
    ],
)
def test_bad_json(ada: Edge, body: bytes) -> None:
    response = ada.call("POST", "/v1/documents:recognize", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert reason_of(response) in {"MALFORMED_BODY", "INVALID_ARGUMENT"}


def test_rules_of_the_contract_name_the_field(ada: Edge) -> None:
    response = ada.recognize(png(print_page(["x"])), requestId="not a uuid")
    assert response.status_code == 400
    assert reason_of(response) == "INVALID_ARGUMENT"
    [rules] = [d for d in response.json()["error"]["details"] if d["@type"].endswith("BadRequest")]
    assert [violation["field"] for violation in rules["fieldViolations"]] == ["request_id"]


def signed(claims: dict[str, object], key: object, algorithm: str = "EdDSA", kid: str = "somebody") -> str:
    return jwt.encode(claims, key, algorithm, {"kid": kid})  # type: ignore[arg-type]  # keys of several kinds


def unsigned(genuine: str) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{head}.{genuine.split('.')[1]}."


def forged(mesh: Mesh, genuine: str, kind: str) -> str:
    """Return a token that is wrong in one way."""
    kid = jwt.get_unverified_header(genuine)["kid"]
    claims = jwt.decode(genuine, options={"verify_signature": False})
    past = {**claims, "iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600}
    own = (mesh.data.root / "keys" / "user-token.pem").read_bytes()
    public = (mesh.data.root / "keys" / "user-jwks.json").read_bytes()
    stranger = Ed25519PrivateKey.generate()
    return {
        "expired": signed(past, own, kid=kid),
        "other audience": signed({**claims, "aud": "elsewhere"}, own, kid=kid),
        "foreign key": signed(claims, stranger, kid=kid),
        "unknown kid": signed(claims, stranger),
        "alg none": unsigned(genuine),
        "public key as hmac secret": signed(claims, public[:64], "HS256", kid),
        "garbage": "x.y.z",
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "expired",
        "other audience",
        "foreign key",
        "unknown kid",
        "alg none",
        "public key as hmac secret",
        "garbage",
    ],
)
def test_tokens_that_do_not_hold(mesh: Mesh, ada: Edge, kind: str) -> None:
    assert ada.call("GET", "/v1/users/me").status_code == 200
    ada.token = forged(mesh, ada.token, kind)
    response = ada.call("GET", "/v1/users/me")
    assert response.status_code == 401, response.text
    assert reason_of(response) == ("TOKEN_EXPIRED" if kind == "expired" else "TOKEN_INVALID")
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_no_token_is_told_so(ada: Edge) -> None:
    ada.token = ""
    response = ada.call("GET", "/v1/users/me")
    assert response.status_code == 401
    assert reason_of(response) == "TOKEN_MISSING"


def test_a_token_of_the_mesh_opens_nothing_at_the_edge(mesh: Mesh, ada: Edge) -> None:
    """A service token is for one callee; shown to the edge by a stranger it is no user."""
    own = (mesh.data.root / "keys" / "mesh.pem").read_bytes()
    now = int(time.time())
    claims = {"iss": "candela-mesh", "aud": "payment", "sub": "user", "tenant": "default", "iat": now, "exp": now + 60}
    ada.token = jwt.encode(claims, own, "EdDSA", {"kid": "mesh"})
    assert ada.call("GET", "/v1/users/me").status_code == 401


def test_headers_that_claim_an_identity_change_nothing(ada: Edge) -> None:
    mine = ada.call("GET", "/v1/users/me").json()
    claims = {"x-user-id": "admin", "x-tenant": "other", "x-candela-user": "root", "x-forwarded-user": "root"}
    assert ada.call("GET", "/v1/users/me", headers=claims).json() == mine


def test_a_session_that_was_ended_is_refused_at_once_everywhere(mesh: Mesh, ada: Edge) -> None:
    assert ada.call("DELETE", "/v1/sessions/current").status_code == 200
    with Edge(mesh.edge, token=ada.token) as late:
        deadline = time.monotonic() + 30
        while (response := late.call("GET", "/v1/recognitions")).status_code == 200:
            assert time.monotonic() < deadline
    assert response.status_code == 401
    assert reason_of(response) == "SESSION_REVOKED"
