"""A folder of models behind a real server process: served, replaced under load, and never able to run anything."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest

from kserve import grpc_service_pb2 as pb
from kserve.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from services.kit.identity import ServiceIdentity
from services.kit.keys import ensure_keys
from tests.support import onnx_graphs as graphs
from tests.support.archives import Canary
from tests.support.child_process import start, stop
from tests.support.eventually import eventually_sync
from tests.support.model_folder import write_model

pytestmark = pytest.mark.timeout(120)

_ROOT = Path(__file__).parents[2]
DOUBLE = {"model.onnx": graphs.doubling()}
SQUARE = {
    "model.onnx": graphs.Graph(
        [graphs.value("x", graphs.FLOAT, ["N", 3])],
        [graphs.value("y", graphs.FLOAT, ["N", 3])],
        [graphs.node("Mul", ["x", "x"], ["y"])],
    ).encoded()
}


@dataclass(frozen=True)
class Served:
    """A running server and the folder it serves."""

    folder: Path
    stub: GRPCInferenceServiceStub
    metadata: tuple[tuple[str, str], ...]
    trace: Path

    def infer(self, value: float) -> tuple[str, list[float]]:
        """Returns which version answered, and what."""
        tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 3])
        raw = np.full(3, value, np.float32).tobytes()
        request = pb.ModelInferRequest(model_name="numbers", inputs=[tensor], raw_input_contents=[raw])
        answer = self.stub.ModelInfer(request, metadata=self.metadata, timeout=20.0)
        return answer.model_version, np.frombuffer(answer.raw_output_contents[0], np.float32).tolist()

    def index(self) -> dict[str, tuple[str, str]]:
        """Returns the state and the reason of every model of the folder, by name and version."""
        answer = self.stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=self.metadata, timeout=20.0)
        return {f"{one.name}@{one.version}": (one.state, one.reason) for one in answer.models}


def environment(data: Path, folder: Path, address: str) -> list[str]:
    settings = {
        "PYTHONPATH": f"{_ROOT}:{_ROOT / 'clients/python/src'}",
        "CANDELA_DATA_DIR": data,
        "CANDELA_LISTEN": address,
        "CANDELA_METRICS_PORT": 0,
        "CANDELA_OTLP_ENDPOINT": "off",
        "CANDELA_INFERENCE_MODELS": "",
        "CANDELA_INFERENCE_REPOSITORY": folder,
    }
    return ["env", *(f"{name}={value}" for name, value in settings.items())]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder, trace = tmp_path / "models", tmp_path / "ran"
    write_model(folder, "numbers", "1", DOUBLE)
    evil = pickle.dumps(Canary(trace))
    write_model(folder, "evil-onnx", "1", {"model.onnx": evil})
    for kind in ("safetensors", "gguf"):
        write_model(folder, f"evil-{kind}", "1", {f"model.{kind}": evil}, architecture="small-conv")
    ensure_keys(tmp_path / "keys")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [*environment(tmp_path, folder, address), sys.executable, "-m", "inference_server.main"]
    log = tmp_path / "log"
    process = start(command, folder=_ROOT, log=log, identity={}, parent_gone=signal.SIGKILL)
    try:
        metadata = ServiceIdentity.load("recognition", tmp_path / "keys").metadata_for("inference")
        with grpc.insecure_channel(address) as channel:
            one = Served(folder, GRPCInferenceServiceStub(channel), tuple(metadata), trace)
            eventually_sync(lambda: _ready(one, process, log), timeout=40.0)
            yield one
    finally:
        stop(process, [signal.SIGTERM])


def _ready(served: Served, process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the server did not start\n{log.read_text()}")
    try:
        answer = served.stub.ServerReady(pb.ServerReadyRequest(), metadata=served.metadata, timeout=1.0)
    except grpc.RpcError:
        return False
    return bool(answer.ready)


def test_sound_models_serve_beside_bad_ones_and_no_pickle_runs(served: Served) -> None:
    assert served.infer(3.0) == ("1", [6.0, 6.0, 6.0])
    index = served.index()
    assert index["numbers@1"] == ("READY", "")
    for kind in ("onnx", "safetensors", "gguf"):
        state, reason = index[f"evil-{kind}@1"]
        assert state == "UNAVAILABLE"
        assert "pickle" in reason or "needs PyTorch" in reason
        request = pb.RepositoryModelLoadRequest(model_name=f"evil-{kind}")
        with pytest.raises(grpc.RpcError):
            served.stub.RepositoryModelLoad(request, metadata=served.metadata, timeout=20.0)
    assert not served.trace.exists(), "a pickle ran"


def test_a_version_that_comes_under_load_fails_no_call(served: Served) -> None:
    answers: list[tuple[str, list[float]]] = []
    failures: list[str] = []
    over = threading.Event()

    def caller() -> None:
        while not over.is_set():
            try:
                answers.append(served.infer(3.0))
            except grpc.RpcError as error:
                failures.append(str(error))

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for one in callers:
        one.start()
    eventually_sync(lambda: len(answers) > 20, timeout=20.0)
    write_model(served.folder, "numbers", "2", SQUARE)
    request = pb.RepositoryModelLoadRequest(model_name="numbers")
    served.stub.RepositoryModelLoad(request, metadata=served.metadata, timeout=20.0)
    at_change = len(answers)
    eventually_sync(lambda: len(answers) > at_change + 20, timeout=20.0)
    over.set()
    for one in callers:
        one.join()
    assert failures == []
    assert {version for version, _ in answers} == {"1", "2"}
    assert all(values == ([6.0] * 3 if version == "1" else [9.0] * 3) for version, values in answers)
    assert answers[-1][0] == "2"


def test_a_folder_that_is_not_there_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    ensure_keys(tmp_path / "keys")
    command = [
        *environment(tmp_path, tmp_path / "nowhere", "127.0.0.1:0"),
        sys.executable,
        "-m",
        "inference_server.main",
    ]
    done = subprocess.run(command, cwd=_ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "cannot read its repository: there is no folder" in done.stdout + done.stderr
