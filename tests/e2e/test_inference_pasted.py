"""What docs/inference.md tells people to paste works as it stands there, against a real mesh."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from kserve.grpc_service_pb2 import ModelInferRequest
from kserve.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.gateway.envoy import free_ports
from tests.support.child_process import stop
from tests.support.eventually import eventually_sync
from tests.support.grpc_server import MeshKeys
from tests.support.mesh import Mesh

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "inference.md"


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)


def pasted(mesh: Mesh, lines: str) -> str:
    """Run lines in the repository and return what they printed; they must succeed."""
    lines = lines.replace(".candela/", f"{mesh.data.root}/").replace("8092", str(mesh.ports.service("inference")))
    lines = lines.replace(".venv/bin/python", sys.executable)
    env = {**os.environ, "CANDELA_DATA_DIR": str(mesh.data.root), "CANDELA_PORT_BASE": str(mesh.ports.base)}
    command = [shutil.which("bash") or "bash", "-euo", "pipefail", "-c", lines]
    done = subprocess.run(command, cwd=_ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(120)
def test_a_model_is_called_from_a_shell(mesh: Mesh) -> None:
    [call] = [block for block in blocks() if "EmbedTexts" in block]
    assert pasted(mesh, call).split() == ["sentence-embed@use-multilingual-3", "[512,", "512]"]


@pytest.mark.timeout(180)
def test_the_lines_about_seeing_and_loading_models(mesh: Mesh) -> None:
    [lines] = [block for block in blocks() if "make models JSON=1" in block]
    shown = pasted(mesh, lines)
    assert '"MODEL_STATE_READY"' in shown
    assert "◌ unloading" in shown
    last = shown.rpartition("\ninference  ")[2]
    assert next(line for line in last.splitlines() if line.startswith("ppocr-rec@")).split()[1:3] == ["●", "ready"]


@pytest.mark.timeout(120)
def test_the_server_with_a_model_of_its_own(tmp_path: Path) -> None:
    [program] = re.findall(r"^```python\n(from functools.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "double.py").write_text(program)
    keys, (port,) = MeshKeys(tmp_path / "keys"), free_ports(1)
    settings = {
        "CANDELA_DATA_DIR": str(tmp_path), "CANDELA_LISTEN": f"127.0.0.1:{port}", "CANDELA_METRICS_PORT": "0",
        "CANDELA_OTLP_ENDPOINT": "off", "PYTHONPATH": f"{_ROOT}:{_ROOT / 'clients/python/src'}",
    }  # fmt: skip
    values = np.array([[1, 2], [3e38, 3e38]], np.float32)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, tmp_path / "double.py"],
            cwd=tmp_path,
            env={**os.environ, **settings},
            stdout=log,
            stderr=log,
        )
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer = GRPCInferenceServiceStub(channel).ModelInfer
            metadata = keys.as_service("recognition", "inference")

            def doubled(rows: Any) -> Any:
                tensor = ModelInferRequest.InferInputTensor(name="X", datatype="FP32", shape=rows.shape)
                request = ModelInferRequest(model_name="double", inputs=[tensor], raw_input_contents=[rows.tobytes()])
                return infer(request, metadata=metadata, timeout=10).raw_output_contents[0]

            def answers() -> bytes:
                assert process.poll() is None, (tmp_path / "log").read_text()
                try:
                    return bytes(doubled(values[:1]))
                except grpc.RpcError as error:
                    raise AssertionError(error) from error

            assert np.frombuffer(eventually_sync(answers, timeout=60), np.float32).tolist() == [2.0, 4.0]
            with pytest.raises(grpc.RpcError) as caught:
                doubled(values)
            assert "overflows" in str(caught.value)
    finally:
        stop(process, [signal.SIGTERM])
