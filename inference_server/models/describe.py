"""`python -m inference_server.models.describe FOLDER`: writes the manifest of a version's folder, and tries the model.

FOLDER is `<repository>/<name>/<version>`. Every file in it is hashed; what a manifest that is there already says beside
the hashes is kept. A hash says that a file is still the one that was described, and not that it was a good one.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_server.models.device import Runtime
from inference_server.models.manifest import MAX_BYTES, parse
from inference_server.models.repository import MANIFEST, Repository
from inference_server.models.weights import WeightsError


def describe(folder: Path, **members: Any) -> dict[str, Any]:
    """Write a folder's manifest and return it; `members` are set in it. Raises WeightsError for a wrong old one."""
    old = folder / MANIFEST
    kept = parse(old.read_bytes()[:MAX_BYTES], MANIFEST).model_dump(exclude_unset=True) if old.is_file() else {}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path != old)
    manifest = {**kept, **members, "files": {path.relative_to(folder).as_posix(): _sha256(path) for path in files}}
    old.write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inference_server.models.describe", description="Writes a manifest."
    )
    parser.add_argument("folder", type=Path, help="a version's folder: <repository>/<name>/<version>")
    parser.add_argument("--architecture", help="for safetensors and GGUF: which of our networks the tensors are for")
    parser.add_argument("--max-batch", type=int, help="most items of a batch; 0 for a graph without a batch dimension")
    parser.add_argument("--instances", type=int, help="how many batches may run at the same time")
    options = vars(parser.parse_args(arguments))
    folder: Path = options.pop("folder").resolve()
    try:
        describe(folder, **{name: value for name, value in options.items() if value is not None})
        model = Repository(folder.parents[1]).create(folder.parent.name, folder.name, Runtime())
        model.load()
        model.warm_up()
    except (WeightsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyError as error:
        print(f"{error}: no name and version of a model (a version is a number)", file=sys.stderr)
        return 1
    print(f"{model.card.identity}: {model.card.platform}, batches up to {model.card.max_batch}")
    for kind, specs in (("in ", model.signature.inputs), ("out", model.signature.outputs)) if model.signature else ():
        for spec in specs:
            print(f"  {kind} {spec.name} {spec.datatype} {list(spec.shape)}")
    return 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
