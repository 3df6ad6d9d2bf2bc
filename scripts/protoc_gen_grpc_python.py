"""protoc plugin that runs the gRPC Python generator compiled into grpc_tools.

grpc_tools offers that generator only as `--grpc_python_out` of its own protoc. buf speaks the plugin protocol, so this
module translates: a CodeGeneratorRequest on standard input, a CodeGeneratorResponse on standard output.
"""

import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2
from grpc_tools import protoc


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Returns the `*_pb2_grpc.py` of every requested file with a service; `error` says what went wrong."""
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    with_services = {file.name for file in request.proto_file if file.service}
    files = [name for name in request.file_to_generate if name in with_services]
    if not files:
        return response
    with tempfile.TemporaryDirectory() as directory:
        image = Path(directory, "request.binpb")
        image.write_bytes(descriptor_pb2.FileDescriptorSet(file=request.proto_file).SerializeToString())
        output = Path(directory, "output")
        output.mkdir()
        arguments = ["protoc", f"--descriptor_set_in={image}", f"--grpc_python_out={output}", *files]
        if status := protoc.main(arguments):
            response.error = f"the gRPC generator of grpc_tools exited with status {status}"
            return response
        for path in sorted(output.rglob("*.py")):
            response.file.add(name=path.relative_to(output).as_posix(), content=path.read_text(encoding="utf-8"))
    return response


def main() -> None:
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(request).SerializeToString())


if __name__ == "__main__":
    main()
