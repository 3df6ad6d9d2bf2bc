"""From what travels to what is raised."""

from copy import copy
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

import candela
from candela.error.v1 import error_reason_pb2
from candela.errors import ERRORS, from_rpc_error, from_status

INFO = error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="candela.dev", metadata={"name": "users/2"})


class Failed(grpc.RpcError):
    """What gRPC raises."""

    def __init__(self, code: grpc.StatusCode, trailers: dict[str, str | bytes] | None = None) -> None:
        super().__init__()
        self._code = code
        self._trailers = trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "failed to connect to all addresses; last error: ipv4:10.0.0.7:8080"

    def trailing_metadata(self) -> Any:
        return None if self._trailers is None else tuple(self._trailers.items())


def status(code: grpc.StatusCode, message: str, *details: Message) -> status_pb2.Status:
    made = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        made.details.add().Pack(detail)
    return made


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK], ids=str)
def test_every_code_has_its_error(code: grpc.StatusCode) -> None:
    error = from_status(status(code, "words", INFO))
    assert type(error) is ERRORS[code.value[0]]
    assert type(error) is not candela.CandelaError
    assert error.message == "words"
    assert error.reason == "NOT_FOUND"
    assert error.metadata == {"name": "users/2"}
    assert error.code in (code, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)


def test_every_reason_of_the_contract_can_be_told_from_its_error() -> None:
    for name in error_reason_pb2.ErrorReason.keys():  # noqa: SIM118 -- an enum wrapper is no mapping
        reason = name.removeprefix("ERROR_REASON_")
        info = error_details_pb2.ErrorInfo(reason=reason, domain="candela.dev")
        assert from_status(status(grpc.StatusCode.ABORTED, "", info)).reason == reason


def test_all_details_arrive() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field="user.email", description="no address", reason="email"
    )
    trailer = status(
        grpc.StatusCode.INVALID_ARGUMENT,
        "words",
        error_details_pb2.ErrorInfo(reason="INVALID_ARGUMENT", domain="candela.dev"),
        error_details_pb2.BadRequest(field_violations=[violation]),
        error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000)),
        error_details_pb2.RequestInfo(request_id="f" * 32),
    )
    error = from_rpc_error(
        Failed(grpc.StatusCode.INVALID_ARGUMENT, {"grpc-status-details-bin": trailer.SerializeToString()})
    )
    assert isinstance(error, candela.InvalidArgument)
    assert error.violations == (candela.FieldViolation("user.email", "no address", "email"),)
    assert error.retry_after == 2.5
    assert error.trace_id == "f" * 32
    assert "user.email: no address" in str(error)
    assert "trace_id=ffff" in str(error)


@pytest.mark.parametrize(
    "trailers", [None, {}, {"grpc-status-details-bin": b"\xff\xff"}, {"grpc-status-details-bin": ""}]
)
def test_what_the_transport_says_is_not_shown(trailers: dict[str, str | bytes] | None) -> None:
    error = from_rpc_error(Failed(grpc.StatusCode.UNAVAILABLE, trailers))
    assert str(error) == "Candela cannot be reached"
    assert error.reason == ""


def test_details_of_another_error_are_not_believed() -> None:
    trailer = status(grpc.StatusCode.NOT_FOUND, "words", INFO)
    error = from_rpc_error(
        Failed(grpc.StatusCode.UNAVAILABLE, {"grpc-status-details-bin": trailer.SerializeToString()})
    )
    assert type(error) is candela.Unavailable
    assert error.reason == ""


def test_an_error_of_another_domain_has_no_reason_of_ours() -> None:
    info = error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="googleapis.com")
    assert from_status(status(grpc.StatusCode.NOT_FOUND, "words", info)).reason == ""


def test_a_trace_is_found_without_details() -> None:
    error = from_rpc_error(Failed(grpc.StatusCode.INTERNAL, {"candela-trace-id": "a" * 32}))
    assert error.trace_id == "a" * 32


def test_something_that_is_no_call_is_internal() -> None:
    assert type(from_rpc_error(grpc.RpcError())) is candela.Internal


def test_an_error_can_be_copied() -> None:
    error = from_status(status(grpc.StatusCode.NOT_FOUND, "words", INFO))
    twin = copy(error)
    assert type(twin) is type(error)
    assert vars(twin) == vars(error)
