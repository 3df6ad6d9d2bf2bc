"""What the gateway alone costs: `GetUser` as JSON through the whole chain against the same call as gRPC, direct.

The server (a bare grpc.aio one that answers at once), Envoy with the generated configuration, and the client are
processes of their own; the clients are those of the bench `gateway`. Token check, transcoding, span and access log are
in it; the work of a service is not, so that less noise covers what is measured.
"""

import asyncio
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc

from candela.user.v1 import user_pb2, user_service_pb2
from gateway_envoy.config import Address
from gateway_envoy.config import TraceReceiver as Receiver
from tests.bench.clients import GetUserClient, JsonClient
from tests.bench.figures import Figure, Outcome
from tests.bench.turns import added, alternate, percentiles
from tests.gateway.backend import Backend
from tests.gateway.contract import Messages
from tests.gateway.envoy import HOST, free_ports, gateway_config, running
from tests.gateway.tokens import Issuer
from tests.gateway.traces import TraceReceiver

_CONTRACT = Path("build/candela-public.binpb")
_GET = "/candela.user.v1.UserService/GetUser"
_DIRECT, _JSON, _GRPC = "gRPC direct", "JSON via Envoy", "gRPC via Envoy"


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


def bench() -> Outcome:
    """Measure 2,500 calls of each client; needs Envoy and generated code."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        issuer = Issuer()
        issuer.write_jwks(folder / "user-jwks.json")
        (port,) = free_ports(1)
        server = subprocess.Popen([sys.executable, "-m", "tests.bench.gateway_overhead", str(port)])
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
        times = alternate(
            {
                _DIRECT: GetUserClient(direct, token),
                _JSON: stack.enter_context(JsonClient(envoy.edge, "/v1/users/me", token)),
                _GRPC: GetUserClient(edge, token),
            }
        )
    figures = (
        Figure("the full Envoy chain: JSON adds", "ms", added(times, _JSON, _DIRECT), at_most=0.6, digits=3),
        Figure("gRPC through Envoy adds", "ms", added(times, _GRPC, _DIRECT), digits=3),
    )
    return Outcome(figures, tuple(percentiles(times)))


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
