"""Writes a model of ours into a repository folder: its tensors as safetensors, and the manifest with their hash."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

_FILE = "model.safetensors"


def write(module: nn.Module, folder: Path, architecture: str, **manifest: Any) -> str:
    """Write `<folder>/model.safetensors` and its `model.json`, and return the SHA-256 of the first.

    `folder` is that of a version (`<repository>/<name>/<version>`); `manifest` are more members of the manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = save({name: tensor.contiguous() for name, tensor in module.state_dict().items()})
    digest = hashlib.sha256(data).hexdigest()
    (folder / _FILE).write_bytes(data)
    described: Mapping[str, Any] = {"architecture": architecture, "files": {_FILE: digest}, **manifest}
    (folder / "model.json").write_text(json.dumps(described, indent=2) + "\n")
    return digest
