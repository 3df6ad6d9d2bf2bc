"""What the gateway costs: one unary call as JSON through the whole chain against the same call as gRPC, direct.

    python -m tests.bench.gateway_overhead [SECONDS]

Server (grpc.aio), Envoy and client are processes of their own. The calls alternate in short rounds, so that whatever
else the machine does hits all of them alike. The call is GetUser with a signed token: token check, transcoding, span
and access log are in it.
"""

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc

from candela.user.v1 import user_pb2, user_service_pb2
from gateway_envoy.config import Address
from gateway_envoy.config import TraceReceiver as Receiver
from tests.gateway.backend import Backend
from tests.gateway.contract import Messages
from tests.gateway.envoy import HOST, free_ports, gateway_config, running
from tests.gateway.tokens import Issuer
from tests.gateway.traces import TraceReceiver

_CONTRACT = Path("build/candela-public.binpb")
_ROUND = 25
_GET = "/candela.user.v1.UserService/GetUser"


@dataclass(frozen=True)
class Overhead:
    """Medians in milliseconds."""

    direct_grpc: float
    json_via_edge: float
    grpc_via_edge: float
    calls: int

    @property
    def json_adds(self) -> float:
        return self.json_via_edge - self.direct_grpc

    def __str__(self) -> str:
        return (
            f"median of {self.calls} calls each: gRPC direct {self.direct_grpc:.3f} ms, JSON via edge "
            f"{self.json_via_edge:.3f} ms (+{self.json_adds:.3f} ms), gRPC via edge {self.grpc_via_edge:.3f} ms "
            f"(+{self.grpc_via_edge - self.direct_grpc:.3f} ms)"
        )


async def _get_user(
    _: user_service_pb2.GetUserRequest, __: grpc.aio.ServicerContext[user_service_pb2.GetUserRequest, user_pb2.User]
) -> user_pb2.User:
    """Answer at once: what is measured is the way, not the work."""
    return user_pb2.User(name="users/1", email="a@example.org", username="somebody", display_name="Somebody")


async def _serve(port: int) -> None:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        _get_user, user_service_pb2.GetUserRequest.FromString, user_pb2.User.SerializeToString
    )
    service, _, method = _GET[1:].partition("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    await server.wait_for_termination()


class _JsonClient:
    """The leanest JSON client there is: one kept connection, one request at a time."""

    def __init__(self, port: int, token: str) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = f"GET /v1/users/me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n".encode()

    def __call__(self) -> Any:
        self.socket.sendall(self.request)
        data = self.socket.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        while len(body) < length:
            body += self.socket.recv(65536)
        return json.loads(body)


def _grpc_client(channel: grpc.Channel, token: str) -> Callable[[], Any]:
    method: Any = channel.unary_unary(
        _GET,
        request_serializer=user_service_pb2.GetUserRequest.SerializeToString,
        response_deserializer=user_pb2.User.FromString,
    )
    request = user_service_pb2.GetUserRequest(name="users/me")
    metadata = (("authorization", f"Bearer {token}"),)
    return lambda: method(request, metadata=metadata, timeout=10)


def measure(seconds: float = 10.0) -> Overhead:
    """Measure for about `seconds`; needs Envoy and generated code."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        issuer = Issuer()
        issuer.write_jwks(folder / "user-jwks.json")
        (port,) = free_ports(1)
        server = subprocess.Popen([sys.executable, "-m", __spec__.name, "serve", str(port)])
        stack.callback(server.wait)
        stack.callback(server.kill)
        receiver = TraceReceiver()
        stack.callback(receiver.stop)
        backend = Backend("user", Messages(_CONTRACT), port)
        traces = Receiver(Address(HOST, receiver.port), tls=False)
        config = gateway_config(folder, _CONTRACT, [backend], traces=traces)
        envoy = stack.enter_context(running(config, folder))
        direct = stack.enter_context(grpc.insecure_channel(f"{HOST}:{port}"))
        edge = stack.enter_context(grpc.insecure_channel(envoy.target))
        token = issuer.token()
        json_client = _JsonClient(envoy.edge, token)
        stack.callback(json_client.socket.close)
        clients: list[Callable[[], Any]] = [_grpc_client(direct, token), json_client, _grpc_client(edge, token)]
        return Overhead(*_alternate(clients, seconds))


def _alternate(clients: list[Callable[[], Any]], seconds: float) -> tuple[float, float, float, int]:
    """Call each client in turn, a round at a time; return the medians in milliseconds and the calls of each."""
    times: list[list[float]] = [[] for _ in clients]
    for client in clients:
        for _ in range(100):
            client()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for client, taken in zip(clients, times, strict=True):
            for _ in range(_ROUND):
                start = time.perf_counter()
                client()
                taken.append((time.perf_counter() - start) * 1000)
    first, second, third = (statistics.median(one) for one in times)
    return first, second, third, len(times[0])


def main(arguments: list[str]) -> int:
    """Serve, as the measured server's process, or measure and print."""
    if arguments[:1] == ["serve"]:
        asyncio.run(_serve(int(arguments[1])))
    else:
        print(measure(float(arguments[0]) if arguments else 10.0))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
