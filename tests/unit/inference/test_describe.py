"""The tool that writes manifests: what it wrote is served, and what is wrong is said at once."""

import json
from pathlib import Path

import pytest

from inference_server.models.describe import main
from inference_server.models.device import Runtime
from inference_server.models.repository import Repository
from inference_server.models.weights import WeightsError
from tests.support import onnx_graphs as graphs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "double" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graphs.doubling())
    (folder / "notes.txt").write_text("doubles")
    return folder


def test_what_it_describes_is_served(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--max-batch", "7"]) == 0
    assert capsys.readouterr().out == (
        "double@1: onnxruntime_onnx, batches up to 7\n  in  x FP32 [3]\n  out y FP32 [3]\n"
    )
    assert Repository(folder.parents[1]).create("double", "1", Runtime()).card.max_batch == 7


def test_what_an_older_manifest_says_is_kept(folder: Path) -> None:
    (folder / "model.json").write_text('{"files": {}, "instances": 3}')
    assert main([str(folder)]) == 0
    manifest = json.loads((folder / "model.json").read_text())
    assert manifest["instances"] == 3
    assert manifest["files"].keys() == {"model.onnx", "notes.txt"}


def test_a_change_after_it_is_noticed(folder: Path) -> None:
    assert main([str(folder)]) == 0
    (folder / "model.onnx").write_bytes(graphs.doubling(length=9))
    with pytest.raises(WeightsError, match="SHA-256"):
        Repository(folder.parents[1]).create("double", "1", Runtime())


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("model.onnx", b"nothing", "no ONNX model"),
        ("model.json", b"{", "Invalid JSON"),
        ("model.gguf", b"", "must be one of"),
    ],
)
def test_what_is_wrong_is_said(
    folder: Path, file: str, data: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / file).write_bytes(data)
    assert main([str(folder)]) == 1
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_version_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    renamed = folder.rename(folder.with_name("latest"))
    assert main([str(renamed)]) == 1
    assert "a version is a number" in capsys.readouterr().err
