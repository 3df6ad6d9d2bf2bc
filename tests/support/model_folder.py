"""Writes model repositories for tests."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_model(root: Path, name: str, version: str, files: Mapping[str, bytes], **manifest: Any) -> Path:
    """Writes a version's files and its manifest, with the SHA-256 of each; returns the version's folder."""
    folder = root / name / version
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    digests = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    (folder / "model.json").write_text(json.dumps({"files": digests, **manifest}))
    return folder
