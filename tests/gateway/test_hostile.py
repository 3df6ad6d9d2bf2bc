"""Requests that nobody sends by accident: refused cleanly, the gateway lives on, its memory stays bounded."""

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from gateway_envoy.limits import MIB, Limits
from tests.gateway.gateway import Gateway, Workshop
from tests.gateway.http import HOST, RawConnection, call, send_raw
from tests.support.eventually import eventually_sync

HEAD = b"GET /v1/users/me HTTP/1.1\r\nhost: a\r\n"


@pytest.fixture(autouse=True)
def lives_on(gateway: Gateway) -> Iterator[None]:
    yield
    assert call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/me%2F..",
        "/v1/users%2Fme",
        "/v1/users/..%2f..%2fadmin",
        "/v1/users/%5c..",
        "/v1/users/a%00b",
        "/v1/users/../../../etc/passwd",
        "/../v1/users/me",
        "//v1/users/me",
        "/v1//users/me",
        "/v1/users/me/",
        "/v1/users/%2e%2e/sessions",
        "/v1/users/me;admin=1",
        "/v1/users/%zz",
        "/v1/./users/./me/..",
        "http://inside/v1/users/me/..",
        "*",
        "v1/users/me",
    ],
)
def test_path_tricks(gateway: Gateway, path: str) -> None:
    """None of them reaches a service without a token, whatever it is taken for."""
    answer = send_raw(gateway.port, f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    assert answer.status in (400, 401, 404, 405)
    assert answer.info["reason"] in ("INVALID_ARGUMENT", "PATH_NOT_FOUND", "METHOD_NOT_ALLOWED", "TOKEN_MISSING")
    assert gateway.user.seen == []


def test_normalised_path_is_what_everybody_sees(gateway: Gateway) -> None:
    answer = send_raw(
        gateway.port, b"POST /v1/./sessions/../probes:echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
    )
    assert answer.status == 200
    assert gateway.probe.last.metadata["x-envoy-original-path"] == "/v1/probes:echo"


def test_http_1_0(gateway: Gateway) -> None:
    answer = send_raw(gateway.port, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (answer.status, answer.info["reason"]) == (426, "UNIMPLEMENTED")


@pytest.mark.parametrize(
    "data",
    [
        b"GARBAGE\r\n\r\n",
        b"\0\1\2\3" * 100 + b"\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nnot-hex\r\n",
        HEAD + b"a header without colon\r\n\r\n",
        HEAD + b"name : value\r\n\r\n",
        HEAD + b"\x00: value\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    ],
    ids=lambda data: str(data[-40:]),
)
def test_garbage(gateway: Gateway, data: bytes) -> None:
    answer = send_raw(gateway.port, data)
    assert answer.status in (400, 401, 426)
    assert answer.error["code"] == answer.status


def test_garbage_after_a_good_request(gateway: Gateway) -> None:
    with RawConnection(gateway.port) as connection:
        connection.send(b"POST /v1/probes:echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}GARBAGE\r\n\r\n")
        text = connection.until_closed()
    assert text.startswith(b"HTTP/1.1 200 OK")
    assert b"HTTP/1.1 400 Bad Request" in text


@pytest.mark.parametrize(
    "headers", [b"a: b\r\n" * 10_000, b"".join(b"a%d: b\r\n" % n for n in range(101)), b"a: " + b"b" * 9000]
)
def test_too_many_headers(gateway: Gateway, headers: bytes) -> None:
    answer = send_raw(gateway.port, HEAD + headers + b"\r\n")
    assert (answer.status, answer.info["reason"]) == (431, "REQUEST_TOO_LARGE")


def test_long_path(gateway: Gateway) -> None:
    answer = send_raw(gateway.port, b"GET /v1/users/" + b"a" * 9000 + b" HTTP/1.1\r\nhost: a\r\n\r\n")
    assert answer.status in (413, 414, 431)
    assert answer.info["reason"] == "REQUEST_TOO_LARGE"


def test_headers_as_large_as_allowed_reach_the_service(gateway: Gateway) -> None:
    headers = {"idempotency-key": "k" * (Limits().headers - 1200)} | gateway.issuer.bearer()
    assert call(gateway.port, "GET", "/v1/probes/a", headers=headers).status == 200


@pytest.mark.parametrize("frame", [b"\0" * 9, struct.pack(">I", 2**24 - 1)[1:] + b"\0\0\0\0\0\1", b"\xff" * 64])
def test_http2_garbage(gateway: Gateway, frame: bytes) -> None:
    with socket.create_connection((HOST, gateway.port), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + frame * 10)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            continue


def _endless(port: int, path: str, total: int, answers: list[int]) -> None:
    """Sends a JSON body of `total` bytes without saying how long it is; notes the answer's status."""
    chunk = b"A" * 65536
    piece = b"%x\r\n%b\r\n" % (len(chunk), chunk)
    head = f'POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nc\r\n{{"content":"\r\n'
    with RawConnection(port) as connection:
        try:
            connection.send(head.encode())
            for _ in range(total // len(chunk)):
                connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The gateway has heard enough; its answer is there to be read.
        try:
            answers.append(connection.answer().status)
        except (OSError, ValueError):
            answers.append(0)


def test_memory_under_endless_bodies(workshop: Workshop) -> None:
    """Twenty-four callers at once send 100 MiB each, without a length, to a method that takes files."""
    heap = 256 * MIB
    with workshop.gateway("probe", limits=Limits(heap=heap)) as gateway:
        answers: list[int] = []
        parameters = (gateway.port, "/v1/probes:upload", 100 * MIB, answers)
        threads = [threading.Thread(target=_endless, args=parameters) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 24
        assert set(answers) <= {413, 503}
        assert gateway.probe.seen == []
        assert gateway.envoy.peak_memory() < heap + 128 * MIB
        eventually_sync(lambda: call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}).status == 200)


def test_body_without_length_is_413(gateway: Gateway) -> None:
    for path, size in (("/v1/probes:upload", 46 * MIB), ("/v1/probes:echo", 2 * MIB)):
        answers: list[int] = []
        _endless(gateway.port, path, size, answers)
        assert answers == [413]
    assert gateway.probe.seen == []


def test_file_sizes(gateway: Gateway) -> None:
    """32 MiB of a file pass as base64 in JSON, 33 MiB do not."""
    gateway.probe.on("Upload", lambda request, _: gateway.reply(total_bytes=len(request.content)))
    for size, status in ((32 * MIB, 200), (33 * MIB, 413)):
        text = b"A" * (-(-size // 3) * 4 - 1) + b"="
        answer = call(gateway.port, "POST", "/v1/probes:upload", b'{"content":"' + text + b'"}')
        assert answer.status == status
    assert len(gateway.probe.seen) == 1
