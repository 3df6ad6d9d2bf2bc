"""CandelaError ↔ google.rpc.Status: one table, both directions.

Outgoing, every error carries ErrorInfo (domain `candela.dev`), and BadRequest, RetryInfo and RequestInfo where they
apply; a status travels in a trailer, so its size is bounded. Incoming, an answer of another service becomes an error of
our own tree; what the transport itself says (addresses, file names) never travels further.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from services.kit import errors as e

DOMAIN: Final = "candela.dev"
STATUS_TRAILER: Final = "grpc-status-details-bin"
TRACE_TRAILER: Final = "candela-trace-id"

# In bytes. Stock clients take 8 KiB of trailers: the message goes twice (once with every byte as three), the rest once,
# with four bytes for three.
_MAX_MESSAGE = 320
_MAX_TEXT = 200
_MAX_METADATA = 1024
_MAX_VIOLATIONS = 2560

CODES: Final[dict[type[e.CandelaError], grpc.StatusCode]] = {
    e.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    e.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    e.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    e.NotFound: grpc.StatusCode.NOT_FOUND,
    e.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    e.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    e.Aborted: grpc.StatusCode.ABORTED,
    e.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    e.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    e.Cancelled: grpc.StatusCode.CANCELLED,
    e.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    e.Unavailable: grpc.StatusCode.UNAVAILABLE,
    e.DataLoss: grpc.StatusCode.DATA_LOSS,
    e.Internal: grpc.StatusCode.INTERNAL,
}
_ERRORS: Final[dict[int, type[e.CandelaError]]] = {code.value[0]: error for error, code in CODES.items()} | {
    grpc.StatusCode.OUT_OF_RANGE.value[0]: e.InvalidArgument,
    grpc.StatusCode.UNKNOWN.value[0]: e.Internal,
}
_BY_NUMBER: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}

# What the caller reads when another part of the mesh gave no answer of its own.
_PLAIN: Final[dict[type[e.CandelaError], str]] = {
    e.Unavailable: "a part that the answer needs cannot be reached",
    e.DeadlineExceeded: "a part that the answer needs did not answer in time",
    e.ResourceExhausted: "a part that the answer needs is overloaded",
    e.Internal: "a part that the answer needs failed",
}


def code_of(error: e.CandelaError) -> grpc.StatusCode:
    """Return the gRPC code of an error, by its class or the nearest one above it."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), grpc.StatusCode.INTERNAL)


def code_from_number(number: int) -> grpc.StatusCode:
    """Return the gRPC code of a number, UNKNOWN for one that gRPC does not have."""
    return _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)


def to_status(error: e.CandelaError, trace_id: str = "") -> status_pb2.Status:
    """Return the status that tells a caller about `error`; `trace_id` lets us find the call."""
    status = status_pb2.Status(code=code_of(error).value[0], message=_cut(error.message, _MAX_MESSAGE))
    _add(status, _error_info(error))
    if error.violations:
        _add(status, _bad_request(error))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(math.ceil(max(error.retry_after, 0.0) * 1000))
        _add(status, error_details_pb2.RetryInfo(retry_delay=delay))
    if trace_id:
        _add(status, error_details_pb2.RequestInfo(request_id=trace_id))
    return status


def _error_info(error: e.CandelaError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo(reason=_cut(error.reason), domain=DOMAIN)
    room = _MAX_METADATA
    for name, value in ((_cut(name), _cut(value)) for name, value in error.metadata.items()):
        room -= len(name.encode()) + len(value.encode())
        if room < 0:
            break
        info.metadata[name] = value
    return info


def _bad_request(error: e.CandelaError) -> error_details_pb2.BadRequest:
    """Return as many violations as fit, the first ones."""
    bad = error_details_pb2.BadRequest()
    for one in error.violations:
        bad.field_violations.add(field=_cut(one.field), description=_cut(one.description), reason=_cut(one.rule))
        if bad.ByteSize() > _MAX_VIOLATIONS:
            del bad.field_violations[-1]
            break
    return bad


def _add(status: status_pb2.Status, detail: Any) -> None:
    status.details.add().Pack(detail)


def _cut(text: str, limit: int = _MAX_TEXT) -> str:
    """Return `text` in at most `limit` bytes of UTF-8, an ellipsis at the end when some is missing."""
    raw = text.encode("utf-8", "replace")  # a lone surrogate cannot travel
    if len(raw) <= limit:
        return raw.decode("utf-8")
    return raw[: limit - 3].decode("utf-8", "ignore") + "…"


def from_status(status: status_pb2.Status, *, as_service: bool = False) -> e.CandelaError:
    """Return the error that a status of another service tells of.

    `as_service` says that the call was made in our own name: a refusal of our identity is then our defect and not the
    caller's. A status without our ErrorInfo gets a plain text instead of its own.
    """
    kind = _ERRORS.get(status.code, e.Internal)
    info, violations, retry_after = _details(status)
    if as_service and kind in (e.Unauthenticated, e.PermissionDenied):
        return e.Internal(_PLAIN[e.Internal])
    if info is None:
        return _foreign(kind, retry_after)
    return kind(
        status.message, reason=info.reason, metadata=info.metadata, violations=violations, retry_after=retry_after
    )


def _foreign(kind: type[e.CandelaError], retry_after: float | None) -> e.CandelaError:
    """Return the error for an answer that our services did not write: the transport's, or another product's."""
    if kind is e.Cancelled:  # nobody here cancelled, or asyncio.CancelledError would be on its way
        kind = e.Unavailable
    if kind not in _PLAIN:
        kind = e.Internal
    reason = "OVERLOADED" if kind is e.ResourceExhausted else ""
    return kind(_PLAIN[kind], reason=reason, retry_after=retry_after)


def _details(
    status: status_pb2.Status,
) -> tuple[error_details_pb2.ErrorInfo | None, list[e.FieldViolation], float | None]:
    info: error_details_pb2.ErrorInfo | None = None
    violations: list[e.FieldViolation] = []
    retry_after: float | None = None
    for detail in status.details:
        found, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(found) and found.domain == DOMAIN:
            info = found
        elif detail.Unpack(bad):
            violations = [e.FieldViolation(v.field, v.description, v.reason) for v in bad.field_violations]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
    return info, violations, retry_after


def from_rpc_error(error: grpc.RpcError, *, as_service: bool = False) -> e.CandelaError:
    """Return our error for what a client call raised, synchronous or asynchronous."""
    code = getattr(error, "code", lambda: None)()
    if not isinstance(code, grpc.StatusCode):
        return e.Internal(_PLAIN[e.Internal])
    status = _status_trailer(getattr(error, "trailing_metadata", lambda: None)())
    if status is None or status.code != code.value[0]:
        status = status_pb2.Status(code=code.value[0])
    return from_status(status, as_service=as_service)


def _status_trailer(trailers: Any) -> status_pb2.Status | None:
    if not trailers:
        return None
    entries: Mapping[str, Any] = dict(trailers)
    raw = entries.get(STATUS_TRAILER)
    if not isinstance(raw, bytes):
        return None
    try:
        return status_pb2.Status.FromString(raw)
    except DecodeError:
        return None
