"""A folder of models, laid out as Triton's: `<name>/<version>/model.onnx`, versions are numbers, the newest is default.

`model.json` in the model's folder, or in the version's own, has the SHA-256 of every file (manifest.py). The folder is
looked at anew each time, so models come and go while the server runs. Links below it are not followed.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_server.models.beneath import Beneath
from inference_server.models.device import Runtime
from inference_server.models.manifest import MAX_BYTES, Manifest, parse
from inference_server.models.model import Model
from inference_server.models.source import Listing
from inference_server.models.weights import WeightsError

_LOG = logging.getLogger(__name__)

MANIFEST = "model.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_ONNX = "model.onnx"
_TENSORS = ("model.safetensors", "model.gguf")
_MODELS = (_ONNX, *_TENSORS)
# Weights are held in memory while they are checked and loaded, so that nobody can change them in between.
_MAX_FILE = 64 << 30


class Repository:
    """A source of models for generic clients: `entries` lists what there is, `create` makes one of them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = Beneath(root)

    def entries(self) -> Sequence[Listing]:
        """Return every version of every model, oldest first; raises WeightsError when the folder cannot be read."""
        found: list[Listing] = []
        for name in self._names():
            try:
                found += [Listing(name, version) for version in self._versions(name)]
            except WeightsError as error:  # it went while we looked, or only it cannot be read
                _LOG.warning("the model %s is left out: %s", name, error)
        return found

    def create(self, name: str, version: str, runtime: Runtime) -> Model[Any, Any]:
        """Make a model of one version, the newest for an empty one, with what it needs to load.

        Raises KeyError when it is not there, WeightsError when its files are not what its manifest says.
        """
        versions = self._versions(name) if _NAME.fullmatch(name) and name in self._names() else []
        if not versions or version not in ("", *versions):
            raise KeyError(f"{name}@{version}" if version else name)
        chosen = version or versions[-1]
        try:
            return self._made(name, chosen, runtime)
        except WeightsError as error:
            raise WeightsError(f"the model {name}@{chosen}: {error}") from error

    def _made(self, name: str, version: str, runtime: Runtime) -> Model[Any, Any]:
        manifest = self._manifest(name, version)
        found = self._files.files(name, version)
        present = [file for file in _MODELS if file in found]
        if len(present) != 1:
            raise WeightsError(
                f"there must be one of {', '.join(_MODELS)}, and there are {', '.join(present) or 'none'}"
            )
        if present[0] == _ONNX:
            return self._onnx(name, version, manifest, runtime)
        return self._tensors(name, version, manifest, present[0], runtime)

    def _onnx(self, name: str, version: str, manifest: Manifest, runtime: Runtime) -> Model[Any, Any]:
        from inference_server.models import onnx_tensors  # noqa: PLC0415 - a server without models stays small

        if manifest.architecture or manifest.options or manifest.platform not in ("", onnx_tensors.PLATFORM):
            raise WeightsError(f"architecture, options and platform {manifest.platform!r} say nothing about ONNX")
        read = {file: self._read(name, version, file, manifest) for file in manifest.files}
        weights = read.pop(_ONNX, None)
        if weights is None:
            raise WeightsError(f"{MANIFEST} has no SHA-256 of {_ONNX}")
        return onnx_tensors.OnnxTensors((name, version), manifest, weights, read, runtime)

    def _tensors(self, name: str, version: str, manifest: Manifest, file: str, runtime: Runtime) -> Model[Any, Any]:
        if file not in manifest.files:
            raise WeightsError(f"{MANIFEST} has no SHA-256 of {file}")
        try:
            from inference_server.models.torch_backend import registry  # noqa: PLC0415 - torch is an extra
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise WeightsError("it needs PyTorch, which is not installed (make torch)") from error
        return registry.create((name, version), manifest, lambda: self._read(name, version, file, manifest), runtime)

    def _read(self, name: str, version: str, file: str, manifest: Manifest) -> bytes:
        return self._files.read_checked((name, version, *file.split("/")), manifest.files[file], _MAX_FILE)

    def _manifest(self, name: str, version: str) -> Manifest:
        """Return the manifest of a version, with the names of its files as they are in the version's folder."""
        if MANIFEST in self._files.files(name, version):
            return parse(self._files.read((name, version, MANIFEST), MAX_BYTES), MANIFEST)
        if MANIFEST not in self._files.files(name):
            raise WeightsError(f"there is no {MANIFEST} with the SHA-256 of its files")
        manifest = parse(self._files.read((name, MANIFEST), MAX_BYTES), MANIFEST)
        own = {
            path.removeprefix(f"{version}/"): digest
            for path, digest in manifest.files.items()
            if path.startswith(f"{version}/")
        }
        return manifest.model_copy(update={"files": own})

    def _names(self) -> list[str]:
        return [name for name in self._files.folders() if _NAME.fullmatch(name)]

    def _versions(self, name: str) -> list[str]:
        """Return a model's versions, oldest first."""
        return sorted((one for one in self._files.folders(name) if _VERSION.fullmatch(one)), key=int)
