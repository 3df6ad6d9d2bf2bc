"""Our server under load: a process with a mesh's keys, and the callers' tokens."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from tests.bench.inference.environments import REPOSITORY, orders
from tests.bench.inference.generator import Flow
from tests.bench.inference.h2load import Target, grpc_target
from tests.bench.inference.peer_servers import INFER, infer_request, item
from tests.bench.inference.servers import Recipe, Server
from tests.bench.inference.works import Workload
from tests.support.grpc_server import MeshKeys

CALLER, CALLEE = "recognition", "inference"
_ATTEMPT_SECONDS = 5.0
# Head sampling as the bars name it; spans go nowhere, so that no receiver takes CPU from server and client.
_SAMPLED = "0.01"


@dataclass(frozen=True)
class Ours:
    """How to start our server and call it. `settings` are variables beside those that every run has."""

    name: str
    workloads: Sequence[Workload]
    options: Sequence[str] = ()
    module: str = "tests.bench.inference.serve"
    settings: Mapping[str, str] = field(default_factory=dict)

    def recipe(self) -> Recipe:
        """Return how to start it."""
        return Recipe(self.name, self._command, self._environment, self.answers)

    def target(self, server: Server, workload: Workload | None = None) -> Target:
        """Return what h2load posts: ModelInfer of the Open Inference Protocol with a service's token and a deadline."""
        workload = workload or self.workloads[0]
        message = infer_request(workload.name, workload, item(workload)).SerializeToString()
        return grpc_target(server.address, INFER, message, {**token(server), "grpc-timeout": "10S"})

    def flow(self, in_flight: int = 0, workload: Workload | None = None, payload: bytes = b"") -> Flow:
        """Return closed load over Exchange on one of its models; `payload` is another item than the workload's."""
        workload = workload or self.workloads[0]
        request = infer_request(workload.name, workload, payload or item(workload))
        return Flow(request.SerializeToString().hex(), in_flight)

    def answers(self, server: Server) -> bool:
        """Say whether it answers one request."""
        goal = self.target(server)
        try:
            with grpc.insecure_channel(server.address) as channel:
                call: Callable[..., bytes] = channel.unary_unary(
                    INFER, request_serializer=None, response_deserializer=None
                )
                return bool(call(goal.body[5:], timeout=_ATTEMPT_SECONDS, metadata=tuple(token(server).items())))
        except grpc.RpcError:
            return False

    def _command(self, _folder: Path, _port: int) -> Sequence[str | Path]:
        return [sys.executable, "-m", self.module, *(one.name for one in self.workloads), *self.options]

    def _environment(self, folder: Path, port: int) -> Mapping[str, str]:
        keys = folder / "keys"
        if not keys.exists():
            MeshKeys(keys)
        return {
            **orders(self.workloads[0].name, port, folder / "counts"),
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'clients/python/src'}",
            "CANDELA_DATA_DIR": str(folder),
            "CANDELA_LISTEN": f"127.0.0.1:{port}",
            "CANDELA_METRICS_PORT": "0",
            "CANDELA_INFERENCE_MODELS": "",
            "CANDELA_OTLP_ENDPOINT": "off",
            "CANDELA_TRACE_SAMPLING_RATIO": _SAMPLED,
            **self.settings,
        }


def token(server: Server) -> dict[str, str]:
    """Return the metadata of a call by a service."""
    return dict(MeshKeys(server.folder / "keys").as_service(CALLER, CALLEE))
