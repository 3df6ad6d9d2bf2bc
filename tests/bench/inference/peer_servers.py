"""How each peer is started and called. Their settings for batching stand in peers/ and tritons.py, with the reasons."""

import base64
import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import grpc

from kserve import grpc_service_pb2
from tests.bench.inference import tritons
from tests.bench.inference.environments import HOME, orders, python_of
from tests.bench.inference.h2load import Target, grpc_target
from tests.bench.inference.servers import Recipe, Server
from tests.bench.inference.works import Workload, tensor

INFER = "/inference.GRPCInferenceService/ModelInfer"
_JSON = {"content-type": "application/json"}
_ATTEMPT_SECONDS = 5.0
_PEERS = "tests.bench.inference.peers"


def item(workload: Workload) -> bytes:
    """Return an item of a workload; as float32 it is a number that a net can take."""
    return (b"\x00\x00\x80\x3e" * (workload.item_bytes // 4))[: workload.item_bytes]


def infer_request(model: str, workload: Workload, payload: bytes) -> grpc_service_pb2.ModelInferRequest:
    """Return a request of the Open Inference Protocol for one item."""
    datatype, shape = tensor(workload)
    if datatype == "UINT8":  # an item may be of another length than the workload's
        shape = (len(payload),)
    tensor_in = grpc_service_pb2.ModelInferRequest.InferInputTensor(name="INPUT", datatype=datatype, shape=[1, *shape])
    return grpc_service_pb2.ModelInferRequest(model_name=model, inputs=[tensor_in], raw_input_contents=[payload])


def target(peer: str, server: Server, workload: Workload) -> Target:
    """Return what h2load posts to a peer."""
    payload = item(workload)
    if peer == "triton":
        message = infer_request(tritons.MODEL, workload, payload).SerializeToString()
        return grpc_target(server.address, INFER, message, {})
    if peer == "bentoml":
        body = json.dumps({"inputs": [base64.b64encode(payload).decode()]}).encode()
        return Target(server.address, "/predict", body, _JSON)
    if peer == "litserve":
        body = json.dumps({"item": base64.b64encode(payload).decode()}).encode()
        return Target(server.address, "/predict", body, _JSON)
    return Target(server.address, "/inference", payload, {"content-type": "application/octet-stream"})


def recipe(peer: str, workload: Workload, deadline: float = 0.0, settings: Mapping[str, str] | None = None) -> Recipe:
    """Return how to start a peer for a workload; it is told the deadline where it can be. `settings` are variables."""

    def environment(folder: Path, port: int) -> Mapping[str, str]:
        variables = orders(workload.name, port, folder / "counts", deadline)
        bin_ = HOME / peer / "bin"
        # Triton's stub runs whatever Python is first on the path.
        return {
            **variables,
            "PATH": f"{bin_}:{variables['PATH']}",
            "VIRTUAL_ENV": str(HOME / peer),
            "BENTOML_DO_NOT_TRACK": "1",
            "BENTOML_HOME": str(folder),
            **(settings or {}),
        }

    def command(folder: Path, port: int) -> Sequence[str | Path]:
        return _command(peer, folder, port, workload, deadline)

    return Recipe(peer, command, environment, lambda server: answers(peer, server, workload))


def answers(peer: str, server: Server, workload: Workload) -> bool:
    """Say whether a peer answers one request with what the model makes of it."""
    goal = target(peer, server, workload)
    try:
        return bool(_grpc(goal) if goal.http2 else _http(goal))
    except (OSError, grpc.RpcError, http.client.HTTPException):
        return False


def _command(peer: str, folder: Path, port: int, workload: Workload, deadline: float) -> Sequence[str | Path]:
    python: str | Path = python_of(peer)
    if peer == "triton":
        return tritons.prepare(folder, workload, deadline, port)
    if peer == "litserve":
        return [python, "-m", f"{_PEERS}.litserve_peer"]
    if peer == "mosec":
        patience = int((deadline or 60.0) * 1000)
        options = ["--address", "127.0.0.1", "--port", str(port), "--timeout", str(patience), "--log-level", "error"]
        return [python, "-m", f"{_PEERS}.mosec_peer", *options]
    served = [python, "-m", "bentoml", "serve", f"{_PEERS}.bentoml_peer:Peer"]
    return [*served, "--host", "127.0.0.1", "--port", str(port)]


def _http(goal: Target) -> bytes:
    connection = http.client.HTTPConnection(goal.address, timeout=_ATTEMPT_SECONDS)
    try:
        connection.request("POST", goal.path, goal.body, dict(goal.headers))
        response = connection.getresponse()
        body = response.read()
        return body if response.status == http.client.OK else b""
    finally:
        connection.close()


def _grpc(goal: Target) -> bytes:
    with grpc.insecure_channel(goal.address) as channel:
        call: Callable[..., bytes] = channel.unary_unary(goal.path, request_serializer=None, response_deserializer=None)
        metadata = [(name, value) for name, value in goal.headers.items() if name not in {"content-type", "te"}]
        return call(goal.body[5:], timeout=_ATTEMPT_SECONDS, metadata=metadata)
