"""Code generation: complete, repeatable, without leftovers, from any path; vendored files are what packages hold."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from scripts import proto_printer, vendor_protos

ROOT = Path(__file__).parents[2]
SOURCES = Path("clients/python/src")
LAMP = """syntax = "proto3";

package candela.lamp.v1;

import "buf/validate/validate.proto";

// A lamp.
message Lamp {
  // Its name.
  string name = 1 [(buf.validate.field).string.min_len = 1];
}

// Lamps.
service LampService {
  // Returns a lamp.
  rpc GetLamp(Lamp) returns (Lamp);
}
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkout with one contract in each module; the path has a space in it."""
    root = tmp_path_factory.mktemp("generation") / "a checkout"
    root.mkdir()
    for name in ("public", "internal"):
        contract = root / f"protos/{name}/candela/{name}/v1/lamp.proto"
        contract.parent.mkdir(parents=True)
        contract.write_text(LAMP.replace("candela.lamp.v1", f"candela.{name}.v1"))
    shutil.copytree(ROOT / "protos/third_party", root / "protos/third_party")
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("buf.yaml", "buf.gen.yaml"):
        shutil.copy(ROOT / name, root)
    (root / SOURCES / "candela").mkdir(parents=True)
    (root / SOURCES / "candela/__init__.py").write_text('"""Written by hand."""\n')
    return root


def generate(root: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(root), "BUF_CACHE_DIR": str(root / "build/cache")}
    command = [sys.executable, "-m", "scripts.generate"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout


def generated(root: Path) -> Iterator[tuple[str, int]]:
    for path in sorted((root / SOURCES).rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            yield path.relative_to(root / SOURCES).as_posix(), path.stat().st_mtime_ns


def test_a_second_run_changes_nothing(checkout: Path) -> None:
    generate(checkout)
    first = dict(generated(checkout))
    assert "candela/public/v1/lamp_pb2.py" in first
    assert "candela/public/v1/lamp_pb2_grpc.pyi" in first
    assert "buf/validate/validate_pb2.py" in first
    assert not any(name.startswith("google/") for name in first)
    assert "(0 files changed)" in generate(checkout)
    assert dict(generated(checkout)) == first


def test_leftovers_go_and_work_by_hand_stays(checkout: Path) -> None:
    gone = checkout / "protos/public/candela/public/v2/lamp.proto"
    gone.parent.mkdir()
    gone.write_text(LAMP.replace("candela.lamp.v1", "candela.public.v2"))
    other = checkout / "protos/public/candela/other/v1/lamp.proto"
    other.parent.mkdir(parents=True)
    other.write_text(LAMP.replace("candela.lamp.v1", "candela.other.v1"))
    by_hand = checkout / SOURCES / "candela/transport/channels.py"
    by_hand.parent.mkdir()
    by_hand.write_text('"""Written by hand."""\n')
    generate(checkout)
    before = dict(generated(checkout))
    assert {"candela/public/v2/lamp_pb2.py", "candela/other/v1/lamp_pb2.py"} <= before.keys()
    shutil.rmtree(gone.parent)
    shutil.rmtree(other.parents[1])
    generate(checkout)
    after = {name for name, _ in generated(checkout)}
    assert not any(name.startswith(("candela/public/v2", "candela/other")) for name in after)
    assert {"candela/__init__.py", "candela/transport/channels.py", "candela/public/v1/lamp_pb2.py"} <= after


def test_a_contract_that_does_not_compile_leaves_the_last_good_code(checkout: Path) -> None:
    generate(checkout)
    before = dict(generated(checkout))
    broken = checkout / "protos/public/candela/public/v1/broken.proto"
    broken.write_text("not a contract")
    try:
        with pytest.raises(subprocess.CalledProcessError):
            generate(checkout)
    finally:
        broken.unlink()
    assert dict(generated(checkout)) == before


def test_generated_modules_import_and_carry_validation_rules() -> None:
    user = import_module("candela.user.v1.user_service_pb2")
    assert import_module("candela.user.v1.user_service_pb2_grpc").UserServiceStub
    validate = import_module("buf.validate.validate_pb2")
    request = user.DESCRIPTOR.message_types_by_name["RegisterUserRequest"]
    assert any(one.GetOptions().HasExtension(validate.field) for one in request.fields)


def test_vendored_files_are_what_the_packages_hold() -> None:
    assert vendor_protos.differences(ROOT / vendor_protos.DESTINATION) == []


def test_an_altered_a_missing_and_a_foreign_vendored_file_are_noticed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / vendor_protos.DESTINATION, tmp_path / "third_party")
    root = tmp_path / "third_party"
    (root / "google/rpc/code.proto").unlink()
    (root / "google/rpc/status.proto").write_text("// altered\n")
    (root / "google/rpc/own.proto").write_text("// ours\n")
    assert vendor_protos.differences(root) == [
        "google/rpc/code.proto: missing",
        "google/rpc/own.proto: no package provides it",
        "google/rpc/status.proto: differs",
    ]


def test_the_printed_validate_proto_compiles_to_the_descriptor_it_was_printed_from() -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "build/candela.binpb").read_bytes()).file
    compiled = next(file for file in files if file.name == "buf/validate/validate.proto")
    compiled.ClearField("source_code_info")
    from_wheel = vendor_protos.validate_descriptor()
    assert compiled == from_wheel


def test_the_printer_covers_what_the_validate_proto_does_not_use() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="lamp.proto", package="lamp", syntax="proto3")
    message = file.message_type.add(name="Lamp")
    entry = message.nested_type.add(name="TagsEntry")
    entry.options.map_entry = True
    string, integer = descriptor_pb2.FieldDescriptorProto.TYPE_STRING, descriptor_pb2.FieldDescriptorProto.TYPE_INT32
    single, repeated = (
        descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
    )
    entry.field.add(name="key", number=1, type=string, label=single)
    entry.field.add(name="value", number=2, type=integer, label=single)
    message.field.add(name="tags", number=1, type=11, type_name=".lamp.Lamp.TagsEntry", label=repeated)
    message.field.add(name="lit", number=2, type=integer, label=single).options.deprecated = True
    printed = proto_printer.print_file(file)
    assert "  map<string, int32> tags = 1;" in printed
    assert "  int32 lit = 2 [deprecated = true];" in printed
    assert "TagsEntry" not in printed
