"""HTTP as callers speak it, down to the bytes where a test needs that."""

import contextlib
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"
_TIMEOUT = 20.0


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object; fails when the answer has another shape."""
        value = self.json
        assert set(value) == {"error"}, value
        error: dict[str, Any] = value["error"]
        return error

    @property
    def info(self) -> dict[str, Any]:
        """The error's ErrorInfo; fails unless there is exactly one of ours."""
        return error_info(self.error)

    def detail(self, name: str) -> dict[str, Any]:
        """The error's detail of a google.rpc type."""
        (detail,) = [one for one in self.error["details"] if one["@type"].endswith(f"google.rpc.{name}")]
        found: dict[str, Any] = detail
        return found


def error_info(error: Mapping[str, Any]) -> dict[str, Any]:
    (info,) = [one for one in error["details"] if one["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"]
    assert info["domain"] == "candela.dev"
    found: dict[str, Any] = info
    return found


def call(
    port: int,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Sends one request; `body` is sent as it is when it is bytes, as JSON otherwise."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    sent = {"content-type": "application/json"} if data is not None else {}
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT)
    try:
        # Refused before all was sent: the answer is there to be read, as HTTP libraries do.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body=data, headers=sent | dict(headers or {}))
        return read(connection.getresponse())
    finally:
        connection.close()


def read(response: http.client.HTTPResponse) -> Answer:
    """Reads an answer to its end."""
    body = response.read()
    return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, body)


class RawConnection:
    """A TCP connection on which a test writes what it likes."""

    def __init__(self, port: int, timeout: float = _TIMEOUT) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=timeout)

    def __enter__(self) -> "RawConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Answer:
        """Reads one answer."""
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        return read(response)

    def until_closed(self) -> bytes:
        """Reads until the other side closes."""
        data = b""
        while chunk := self._receive():
            data += chunk
        return data

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""


def send_raw(port: int, data: bytes) -> Answer:
    """Sends bytes on a connection of their own and reads one answer."""
    with RawConnection(port) as connection:
        connection.send(data)
        return connection.answer()
