"""The contract the tests run on: the public one and the test's own, compiled into one descriptor set."""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_tools import protoc

_ROOT = Path(__file__).parents[2]
_PROTO = Path("candela/probe/v1/probe.proto")
PROBE = "candela.probe.v1.ProbeService"


def write_descriptor_set(folder: Path) -> Path:
    """Compiles the test's contract and adds it to the public one; returns the file."""
    own = folder / "probe.binpb"
    includes = [Path(__file__).parent / "protos", _ROOT / "protos/public", _ROOT / "protos/third_party"]
    well_known = Path(protoc.__file__).parent / "_proto"
    flags = [f"--proto_path={path}" for path in (*includes, well_known)]
    status = protoc.main(["protoc", *flags, "--include_imports", f"--descriptor_set_out={own}", str(_PROTO)])
    assert status == 0
    merged = descriptor_pb2.FileDescriptorSet.FromString((_ROOT / "build/candela-public.binpb").read_bytes())
    known = {file.name for file in merged.file}
    merged.file.extend(
        file for file in descriptor_pb2.FileDescriptorSet.FromString(own.read_bytes()).file if file.name not in known
    )
    result = folder / "contract.binpb"
    result.write_bytes(merged.SerializeToString())
    return result


class Messages:
    """The message classes of a descriptor set, by full name: `messages("candela.user.v1.User")`."""

    def __init__(self, descriptor_set: Path) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set.read_bytes())
        for file in files.file:
            self.pool.Add(file)
        self.services = [f"{file.package}.{service.name}" for file in files.file for service in file.service]

    def __call__(self, name: str, **values: Any) -> Any:
        """Returns a new message of a full name."""
        return self.type(name)(**values)

    def type(self, name: str) -> type[Message]:
        """Returns the class of a full name."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))
