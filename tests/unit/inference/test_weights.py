"""What is loaded is what was measured, and nothing else."""

import hashlib
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from inference_server.models.device import Device, Runtime
from inference_server.models.sessions import open_session
from inference_server.models.weights import Weights, WeightsError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "__init__.py").write_text("raise RuntimeError('only its files are wanted')")
    (tmp_path / "shipped" / "model.onnx").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "shipped"


def test_the_right_bytes_are_read_without_importing_the_package(package: str) -> None:
    good = hashlib.sha256(b"weights").hexdigest()
    assert Weights(package, "model.onnx", good).read() == b"weights"


@pytest.mark.parametrize(
    ("package_name", "path", "reason"),
    [
        ("shipped", "model.onnx", "SHA-256"),
        ("shipped", "missing.onnx", "cannot read"),
        ("no_such_package_anywhere", "model.onnx", "not installed"),
    ],
)
def test_anything_else_is_refused(package: str, package_name: str, path: str, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        Weights(package_name, path, "0" * 64).read()


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(WeightsError, match="no ONNX model"):
        open_session(b"no model", Runtime(threads=1), threads=1)


def test_cuda_is_never_replaced_by_the_cpu_silently() -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(WeightsError, match="without CUDA"):
        open_session(b"", Runtime(Device.CUDA), threads=1)


def test_a_server_without_models_imports_nothing_heavy() -> None:
    program = (
        "import sys, inference_server.main; "
        "print([name for name in ('numpy', 'onnxruntime', 'cv2', 'rapidocr') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_environment()
    )
    assert done.stdout.strip() == "[]"


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(sys.path)}
