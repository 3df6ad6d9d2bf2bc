"""Triton's server from the wheel `nvidia-pytriton`: its files put together, its model repository, its command.

The model is a Python one in a process of its own, with dynamic batching as the docs recommend to begin with: no delay,
so what waits when the instance is free makes the next batch. With a deadline the queue refuses what has waited longer
than leaves time for a batch: Triton does not read a call's own deadline.
"""

import shutil
import sys
from pathlib import Path

from tests.bench.inference.environments import REPOSITORY, site_of
from tests.bench.inference.works import Workload, tensor

MODEL = "bench"
_CONFIG = """\
name: "{model}"
backend: "python"
max_batch_size: {max_batch}
input [{{ name: "INPUT" data_type: TYPE_{datatype} dims: {shape} }}]
output [{{ name: "OUTPUT" data_type: TYPE_UINT8 dims: [-1] }}]
instance_group [{{ count: 1 kind: KIND_CPU }}]
dynamic_batching {{ {policy} }}
"""
_QUEUE = (
    "default_queue_policy {{ timeout_action: REJECT default_timeout_microseconds: {0} allow_timeout_override: true }}"
)


def policy(workload: Workload, deadline: float) -> str:
    """Return the queue's policy: what waited too long for a batch to end in time is refused; "" without deadline."""
    return _QUEUE.format(int((deadline - (workload.seconds or 0.0)) * 1e6)) if deadline else ""


def prepare(folder: Path, workload: Workload, deadline: float, port: int) -> list[str | Path]:
    """Lay out backend and model in `folder` and return the server's command."""
    distribution = site_of("triton") / "pytriton" / "tritonserver"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    backend = folder / "backends" / "python"
    shutil.copytree(distribution / "backends" / "python", backend)
    # The library asks for its neighbours by a path relative to where it was, so it stays there.
    for library in backend.glob("*.so"):
        library.unlink()
        library.symlink_to(distribution / "backends" / "python" / library.name)
    (backend / "triton_python_backend_stub").symlink_to(
        distribution / "python_backend_stubs" / version / "triton_python_backend_stub"
    )
    model = folder / "models" / MODEL
    (model / "1").mkdir(parents=True)
    shutil.copy(REPOSITORY / "tests/bench/inference/peers/triton_peer.py", model / "1" / "model.py")
    # The backend finds modules beside its model, and nowhere else but in its environment.
    (model / "1" / "tests").symlink_to(REPOSITORY / "tests")
    datatype, shape = tensor(workload)
    config = _CONFIG.format(
        model=MODEL,
        max_batch=workload.max_batch,
        datatype=datatype,
        shape=list(shape),
        policy=policy(workload, deadline),
    )
    (model / "config.pbtxt").write_text(config, encoding="utf-8")
    return _command(distribution / "bin" / "tritonserver", folder, port)


def _command(program: Path, folder: Path, port: int) -> list[str | Path]:
    return [
        program,
        f"--model-repository={folder / 'models'}",
        f"--backend-directory={folder / 'backends'}",
        f"--grpc-port={port}",
        "--grpc-address=127.0.0.1",
        "--allow-http=false",
        "--allow-metrics=false",
        "--log-info=false",
    ]
