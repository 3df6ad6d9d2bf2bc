"""Writes `protos/third_party`: the files of others that our contracts import, taken from the pinned packages.

`python -m scripts.vendor_protos` writes them, `--check` reports what differs (exit status 1) and writes nothing.
`google/*` is copied from googleapis-common-protos. `buf/validate/validate.proto` is printed from the descriptor in the
protovalidate wheel, which ships no source.
"""

import argparse
import importlib.resources
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


def differences(root: Path) -> list[str]:
    """Returns one line for each file below `root` that is missing, altered or not ours to keep."""
    wanted = vendored_files()
    found = {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in root.rglob("*.proto")}
    return [
        *(f"{path}: missing" for path in sorted(wanted.keys() - found.keys())),
        *(f"{path}: no package provides it" for path in sorted(found.keys() - wanted.keys())),
        *(f"{path}: differs" for path in sorted(wanted.keys() & found.keys()) if wanted[path] != found[path]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="report differences and write nothing")
    if parser.parse_args().check:
        found = differences(DESTINATION)
        sys.stderr.writelines(f"{DESTINATION}/{line}\n" for line in found)
        return 1 if found else 0
    for path, content in vendored_files().items():
        target = DESTINATION / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
