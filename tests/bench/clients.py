"""The leanest clients there are, so that what is measured is the way and the server."""

import json
import socket
from typing import Any, Self

import grpc

from candela.user.v1 import user_pb2, user_service_pb2

_GET_USER = "/candela.user.v1.UserService/GetUser"


class JsonClient:
    """GET over one kept HTTP/1.1 connection, one request at a time; the answer is parsed."""

    def __init__(self, port: int, path: str, token: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = f"GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n".encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def __call__(self) -> Any:
        """Ask once. Raises OSError for another status than 200 and for a connection that ends."""
        self._socket.sendall(self._request)
        head, _, body = self._receive().partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise OSError(head.decode(errors="replace"))
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        while len(body) < length:
            body += self._receive()
        return json.loads(body)

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise OSError("the connection ended")
        return data


class GetUserClient:
    """`GetUser` of oneself over a channel; the answer is a message."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self._method: Any = channel.unary_unary(  # grpc's types know only messages of its own kind
            _GET_USER,
            request_serializer=user_service_pb2.GetUserRequest.SerializeToString,
            response_deserializer=user_pb2.User.FromString,
        )
        self._request = user_service_pb2.GetUserRequest(name="users/me")
        self._metadata = (("authorization", f"Bearer {token}"),)

    def __call__(self) -> Any:
        """Ask once; raises grpc.RpcError."""
        return self._method(self._request, metadata=self._metadata, timeout=10)
