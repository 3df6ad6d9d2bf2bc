"""gRPC calls with bytes on both sides, whatever the method."""

from collections.abc import Iterable
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.gateway.contract import PROBE


def unary(channel: grpc.Channel, method: str, request: bytes = b"", **options: Any) -> tuple[bytes, dict[str, Any]]:
    """Calls a method of the test's service, or of another one by its full path; returns answer and first metadata."""
    multicallable: Any = channel.unary_unary(_path(method))
    answer, call = multicallable.with_call(request, **({"timeout": 10} | options))
    return answer, dict(call.initial_metadata())


def server_stream(channel: grpc.Channel, method: str, request: bytes = b"", **options: Any) -> Any:
    """Begins a call with a stream of answers and returns it."""
    multicallable: Any = channel.unary_stream(_path(method))
    return multicallable(request, **({"timeout": 10} | options))


def both_streams(channel: grpc.Channel, method: str, requests: Iterable[bytes]) -> Any:
    """Begins a call with streams both ways and returns it."""
    multicallable: Any = channel.stream_stream(_path(method))
    return multicallable(iter(requests), timeout=10)


def _path(method: str) -> str:
    return method if method.startswith("/") else f"/{PROBE}/{method}"


def reason_of(error: grpc.RpcError) -> str:
    """Returns the reason of an error; fails when it carries no ErrorInfo of ours."""
    call: Any = error
    status = rpc_status.from_call(call)
    assert status is not None, error
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "candela.dev"
    assert (status.code, status.message) == (call.code().value[0], call.details())
    return info.reason


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Returns the status of an error."""
    call: Any = error
    code: grpc.StatusCode = call.code()
    return code
