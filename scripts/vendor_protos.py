"""Writes `protos/third_party`: the files of others that our contracts import, taken from the pinned packages.

`python -m scripts.vendor_protos` writes them, `--check` reports what differs (exit status 1) and writes nothing.
`google/*` is copied from googleapis-common-protos. `buf/validate/validate.proto` is printed from the descriptor in the
protovalidate wheel, which ships no source. `kserve/*` is printed from the descriptors in the wheel of tritonclient,
which cannot be installed beside our protobuf: `--tritonclient DIR` (where that wheel was unpacked or installed) prints
them anew, and otherwise they must have the SHA-256 noted here.
"""

import argparse
import ast
import hashlib
import importlib.resources
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from google.protobuf import descriptor_pb2
from protovalidate._gen.buf.validate import validate_pb  # the wheel has no public way to its own contract

from scripts.proto_printer import print_file

DESTINATION = Path("protos/third_party")

# Roots that contracts import, or that Envoy needs in its descriptor set, and what they import in turn.
_GOOGLE_FILES = (
    "google/api/annotations.proto",
    "google/api/field_behavior.proto",
    "google/api/http.proto",
    "google/api/httpbody.proto",
    "google/api/resource.proto",
    "google/rpc/code.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
)

# KServe's Open Inference Protocol with Triton's extensions, as tritonclient 2.73.0 holds it: source in the wheel → hash
# of what is printed.
_KSERVE = "kserve"
_KSERVE_FILES = {
    "model_config_pb2": (
        "kserve/model_config.proto",
        "1ca3444d5cd000decd3cdf58c76811b863cdd4d67ab11dcc1e1d68e00295979f",
    ),
    "service_pb2": ("kserve/grpc_service.proto", "96c39b01f4e1bc9fa0f3710795b88becf6da71aad00ac94a10fbf884ddb1a10a"),
}
_COMPILED = re.compile(r"AddSerializedFile\((b'.*?')\)\n", re.DOTALL)


def vendored_files() -> dict[str, str]:
    """Returns path below `protos/third_party` → content, as the installed packages hold it."""
    files = dict(_google_files())
    origin = (
        f"// Printed from the descriptor in protovalidate {version('protovalidate')} (Apache-2.0, Buf Technologies)."
    )
    descriptor = validate_descriptor()
    files[descriptor.name] = f"{origin}\n{print_file(descriptor)}"
    return files


def validate_descriptor() -> descriptor_pb2.FileDescriptorProto:
    """Returns buf/validate/validate.proto as the protovalidate wheel holds it."""
    return descriptor_pb2.FileDescriptorProto.FromString(validate_pb._DESC.proto.to_binary())


def _google_files() -> Iterator[tuple[str, str]]:
    for path in _GOOGLE_FILES:
        package, _, name = path.rpartition("/")
        source = importlib.resources.files(package.replace("/", ".")).joinpath(name)
        yield path, source.read_text(encoding="utf-8")


def kserve_files(tritonclient: Path) -> dict[str, str]:
    """Returns path → content of KServe's files, printed from an unpacked wheel of tritonclient.

    They get a folder of their own: the wheel has them at the root, where the next vendor's would collide with them.
    """
    printed: dict[str, str] = {}
    imports: list[descriptor_pb2.FileDescriptorProto] = []
    for module in _KSERVE_FILES:
        source = Path(tritonclient, "tritonclient", "grpc", f"{module}.py").read_text(encoding="utf-8")
        found = _COMPILED.search(source)
        if found is None:
            raise ValueError(f"no descriptor in {module}.py")
        file = descriptor_pb2.FileDescriptorProto.FromString(ast.literal_eval(found.group(1)))
        file.name = f"{_KSERVE}/{file.name}"
        file.dependency[:] = [f"{_KSERVE}/{name}" for name in file.dependency]
        origin = "// Printed from the descriptor in tritonclient 2.73.0 (BSD-3-Clause, NVIDIA CORPORATION)."
        printed[file.name] = f"{origin}\n{print_file(file, imports)}"
        imports.append(file)
    return printed


def _altered_kserve(found: dict[str, str]) -> list[str]:
    lines = []
    for path, sha256 in _KSERVE_FILES.values():
        content = found.pop(path, None)
        if content is None:
            lines.append(f"{path}: missing")
        elif hashlib.sha256(content.encode("utf-8")).hexdigest() != sha256:
            lines.append(f"{path}: differs")
    return lines


def differences(root: Path) -> list[str]:
    """Returns one line for each file below `root` that is missing, altered or not ours to keep."""
    wanted = vendored_files()
    found = {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in root.rglob("*.proto")}
    return [
        *_altered_kserve(found),
        *(f"{path}: missing" for path in sorted(wanted.keys() - found.keys())),
        *(f"{path}: no package provides it" for path in sorted(found.keys() - wanted.keys())),
        *(f"{path}: differs" for path in sorted(wanted.keys() & found.keys()) if wanted[path] != found[path]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="report differences and write nothing")
    parser.add_argument("--tritonclient", type=Path, help="where tritonclient was unpacked: print KServe's files, too")
    arguments = parser.parse_args()
    if arguments.check:
        found = differences(DESTINATION)
        sys.stderr.writelines(f"{DESTINATION}/{line}\n" for line in found)
        return 1 if found else 0
    kserve = kserve_files(arguments.tritonclient) if arguments.tritonclient else {}
    for path, content in (vendored_files() | kserve).items():
        target = DESTINATION / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
