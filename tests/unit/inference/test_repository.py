"""A folder of models: what is in it is listed and made, and what is not as its manifest says is refused."""

import hashlib
import json
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_server.models.device import Runtime
from inference_server.models.repository import Repository
from inference_server.models.source import Listing
from inference_server.models.weights import WeightsError
from tests.support import onnx_graphs as graphs
from tests.support.archives import Canary
from tests.support.model_folder import write_model

RUNTIME = Runtime(threads=1)
GRAPH = {"model.onnx": graphs.doubling()}


def made(root: Path, name: str = "double", version: str = "") -> Any:
    return Repository(root).create(name, version, RUNTIME)


def test_versions_are_numbers_and_the_newest_is_the_default(tmp_path: Path) -> None:
    for version in ("1", "9", "10"):
        write_model(tmp_path, "double", version, GRAPH)
    for other in ("latest", "01", "0", ".git"):
        (tmp_path / "double" / other).mkdir()
    (tmp_path / "not a model").mkdir()
    repository = Repository(tmp_path)
    assert repository.entries() == [Listing("double", version) for version in ("1", "9", "10")]
    assert repository.create("double", "", RUNTIME).card.version == "10"
    assert repository.create("double", "9", RUNTIME).card.identity == "double@9"


def test_a_model_from_a_folder_computes(tmp_path: Path) -> None:
    write_model(tmp_path, "double", "1", GRAPH, max_batch=8, instances=3)
    model = made(tmp_path)
    assert (model.card.max_batch, model.card.instances, model.card.platform) == (8, 3, "onnxruntime_onnx")
    model.load()
    result = model.run([model.signature.item({"x": np.array([1, 2, 3], np.float32)})])
    np.testing.assert_array_equal(result[0]["y"], [2, 4, 6])
    model.close()


def test_what_changes_in_the_folder_is_seen(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    assert repository.entries() == []
    folder = write_model(tmp_path, "double", "1", GRAPH)
    assert repository.entries() == [Listing("double", "1")]
    folder.rename(folder.with_name("2"))
    assert repository.entries() == [Listing("double", "2")]
    with pytest.raises(KeyError):
        repository.create("double", "1", RUNTIME)


def test_one_manifest_may_stand_for_all_versions(tmp_path: Path) -> None:
    for version in ("1", "2"):
        write_model(tmp_path, "double", version, GRAPH)
        (tmp_path / "double" / version / "model.json").unlink()
    digest = hashlib.sha256(GRAPH["model.onnx"]).hexdigest()
    manifest = {"files": {"1/model.onnx": digest}, "max_batch": 5}
    (tmp_path / "double" / "model.json").write_text(json.dumps(manifest))
    assert made(tmp_path, version="1").card.max_batch == 5
    with pytest.raises(WeightsError, match=r"double@2: model\.json has no SHA-256 of model\.onnx"):
        made(tmp_path, version="2")


@pytest.mark.parametrize("name", ["nothing", "..", ".", "", "/etc", "double/1", "a\0b"])
def test_a_name_that_is_not_in_the_folder_is_not_there(tmp_path: Path, name: str) -> None:
    write_model(tmp_path, "double", "1", GRAPH)
    with pytest.raises(KeyError):
        made(tmp_path, name)


@pytest.mark.parametrize("version", ["2", "..", "1/../1", "01"])
def test_a_version_that_is_not_in_the_folder_is_not_there(tmp_path: Path, version: str) -> None:
    write_model(tmp_path, "double", "1", GRAPH)
    with pytest.raises(KeyError):
        made(tmp_path, version=version)


def test_a_file_with_another_hash_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "double", "1", GRAPH)
    (folder / "model.onnx").write_bytes(graphs.doubling(length=4))
    with pytest.raises(WeightsError, match=r"double@1: double/1/model\.onnx has SHA-256 [0-9a-f]{64}, not"):
        made(tmp_path)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("", "Invalid JSON"),
        ("[]", "valid dictionary|object"),
        ("{}", "files: Field required"),
        ('{"files": {"model.onnx": "abc"}}', r"files\.model\.onnx"),
        ('{"files": {}, "max_bach": 3}', "max_bach: Extra inputs"),
        ('{"files": {}, "max_batch": "3"}', "max_batch"),
        ('{"files": {}, "instances": 0}', "instances"),
        ('{"files": {}}', "no SHA-256"),
    ],
)
def test_a_manifest_that_is_wrong_says_where(tmp_path: Path, manifest: str, message: str) -> None:
    folder = write_model(tmp_path, "double", "1", GRAPH)
    (folder / "model.json").write_text(manifest)
    with pytest.raises(WeightsError, match=message):
        made(tmp_path)


def test_a_model_without_a_manifest_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty" / "1").mkdir(parents=True)
    with pytest.raises(WeightsError, match=r"there is no model\.json"):
        made(tmp_path, "empty")
    write_model(tmp_path, "none", "1", {"other.bin": b""})
    with pytest.raises(WeightsError, match=r"must be one of model\.onnx.* and there are none"):
        made(tmp_path, "none")
    write_model(tmp_path, "both", "1", {**GRAPH, "model.gguf": b""})
    with pytest.raises(WeightsError, match=r"there are model\.onnx, model\.gguf"):
        made(tmp_path, "both")


@pytest.mark.parametrize("file", ["model.onnx", "model.safetensors", "model.gguf"])
def test_a_pickle_under_any_name_is_refused_and_never_run(tmp_path: Path, file: str) -> None:
    write_model(
        tmp_path,
        "evil",
        "1",
        {file: pickle.dumps(Canary(tmp_path / "ran"))},
        architecture="" if "onnx" in file else "small-conv",
    )
    with pytest.raises(WeightsError, match=r"a pickle, which is a program|it needs PyTorch"):
        made(tmp_path, "evil").load()
    assert not (tmp_path / "ran").exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = write_model(tmp_path / "outside", "double", "1", GRAPH)
    root = tmp_path / "root"
    write_model(root, "file", "1", {**GRAPH, "more.bin": b"more"})
    (root / "file/1/model.onnx").unlink()
    (root / "file/1/model.onnx").symlink_to(outside / "model.onnx")
    (root / "name").symlink_to(tmp_path / "outside" / "double")
    (root / "version").mkdir()
    (root / "version/1").symlink_to(outside)
    assert Repository(root).entries() == [Listing("file", "1")]
    with pytest.raises(WeightsError, match="there are none"):
        made(root, "file")
    for name in ("name", "version"):
        with pytest.raises(KeyError):
            made(root, name)


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    for path in ("../../../secret", "/secret", "a//b", "./model.onnx"):
        folder = write_model(tmp_path / "root", "double", "1", GRAPH)
        manifest = json.loads((folder / "model.json").read_text())
        manifest["files"][path] = digest
        (folder / "model.json").write_text(json.dumps(manifest))
        with pytest.raises(WeightsError, match="is no path in the repository"):
            made(tmp_path / "root")


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "double", "1", GRAPH)
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")  # reading it would wait for ever
    with pytest.raises(WeightsError, match="there are none"):
        made(tmp_path)
    write_model(tmp_path, "pipe", "1", {**GRAPH, "w.bin": b""})
    (tmp_path / "pipe/1/w.bin").unlink()
    os.mkfifo(tmp_path / "pipe/1/w.bin")
    with pytest.raises(WeightsError, match=r"pipe/1/w\.bin: it is no plain file"):
        made(tmp_path, "pipe")


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no folder"):
        Repository(tmp_path / "nowhere").entries()


def test_the_repository_itself_may_be_a_link(tmp_path: Path) -> None:
    write_model(tmp_path / "real", "double", "1", GRAPH)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert made(tmp_path / "link").card.version == "1"


def test_weights_beside_a_graph_come_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    graph = graphs.Graph(
        [graphs.value("x", graphs.FLOAT, ["N", 2])],
        [graphs.value("y", graphs.FLOAT, ["N", 2])],
        [graphs.node("Add", ["x", "w"], ["y"])],
        [graphs.elsewhere("w", [2], "parts/w.bin")],
    ).encoded()
    weights = np.array([10, 20], np.float32).tobytes()
    write_model(tmp_path, "beside", "1", {"model.onnx": graph, "parts/w.bin": weights})
    model = made(tmp_path, "beside")
    with caplog.at_level(logging.ERROR):
        model.load()
    np.testing.assert_array_equal(model.run([{"x": np.zeros(2, np.float32)}])[0]["y"], [10, 20])
    write_model(tmp_path, "beside", "2", {"model.onnx": graph})
    alone = made(tmp_path, "beside", "2")
    with pytest.raises(WeightsError, match=r"files that did not come with it: parts/w\.bin"):
        alone.load()
