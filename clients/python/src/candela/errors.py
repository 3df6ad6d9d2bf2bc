"""What a call can fail with.

CandelaError
├── InvalidArgument     a value is wrong whatever the state of the system; `violations` name the fields
├── Unauthenticated     not logged in, or the session has ended
├── PermissionDenied    logged in, and not allowed
├── NotFound            no such thing, or not for this caller
├── AlreadyExists       the thing to create is there
├── FailedPrecondition  right request, wrong state
├── Aborted             a concurrent change won: read again and repeat
├── ResourceExhausted   a limit was reached; `retry_after` says when to come back
├── DeadlineExceeded    the call's time ran out
├── Cancelled           the call was cancelled
├── Unimplemented       in the contract, not in this mesh
├── Unavailable         Candela, or a part of it, cannot be reached for now
├── DataLoss            stored data is damaged
└── Internal            a defect on the other side

`reason` is the name of a `candela.error.v1.ErrorReason` value without its prefix. It is empty when the answer does not
come from Candela itself, such as when nothing can be reached. gRPC's own errors stay in `__cause__`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo

_DOMAIN: Final = "candela.dev"
_STATUS_TRAILER: Final = "grpc-status-details-bin"
_TRACE_TRAILER: Final = "candela-trace-id"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field: its path in the request (`user.email`), what is wrong, and the rule that it breaks."""

    field: str
    description: str
    rule: str = ""


class CandelaError(Exception):
    """A call that failed.

    `retry_after` is in seconds, None when waiting does not help. `trace_id` finds the call in Candela's traces and
    `request_id` is the idempotency key that it was made with; each is empty when there is none.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        trace_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.trace_id = trace_id
        self.request_id = ""

    def __str__(self) -> str:
        fields = "".join(f"\n  {one.field}: {one.description}" for one in self.violations)
        known = {"reason": self.reason, "request_id": self.request_id, "trace_id": self.trace_id}
        facts = ", ".join(f"{name}={value}" for name, value in known.items() if value)
        return f"{self.message} ({facts}){fields}" if facts else f"{self.message}{fields}"


class InvalidArgument(CandelaError):
    """A value is wrong whatever the state of the system."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class Unauthenticated(CandelaError):
    """Who is calling is not known: not logged in, or the session has ended."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(CandelaError):
    """The caller is known and may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class NotFound(CandelaError):
    """There is no such thing, or not for this caller."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(CandelaError):
    """The thing to create exists; metadata `field` may say what collides."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(CandelaError):
    """The request is right and the state is not; repeating alone does not help."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(CandelaError):
    """A concurrent change won; read again and repeat."""

    code = grpc.StatusCode.ABORTED


class ResourceExhausted(CandelaError):
    """A limit was reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceeded(CandelaError):
    """The call's time ran out."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(CandelaError):
    """The call was cancelled."""

    code = grpc.StatusCode.CANCELLED


class Unimplemented(CandelaError):
    """The contract has it and this mesh does not."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Unavailable(CandelaError):
    """Candela, or a part that the answer needs, cannot be reached for now."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLoss(CandelaError):
    """Stored data is damaged."""

    code = grpc.StatusCode.DATA_LOSS


class Internal(CandelaError):
    """A defect on the other side; `trace_id` finds it."""

    code = grpc.StatusCode.INTERNAL


_TREE: Final[tuple[type[CandelaError], ...]] = (
    InvalidArgument,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    Aborted,
    ResourceExhausted,
    DeadlineExceeded,
    Cancelled,
    Unimplemented,
    Unavailable,
    DataLoss,
    Internal,
)
ERRORS: Final[dict[int, type[CandelaError]]] = {kind.code.value[0]: kind for kind in _TREE} | {
    grpc.StatusCode.OUT_OF_RANGE.value[0]: InvalidArgument,
    grpc.StatusCode.UNKNOWN.value[0]: Internal,
}

# What a user reads when something other than Candela's services answered; the transport's own text is for programmers.
_PLAIN: Final[dict[type[CandelaError], str]] = {
    Unavailable: "Candela cannot be reached",
    DeadlineExceeded: "the call took longer than its timeout",
    Cancelled: "the call was cancelled",
    Unimplemented: "this mesh does not have that method",
    Unauthenticated: "the token was refused",
    ResourceExhausted: "a limit was reached, or the message is too large",
}


def from_status(status: status_pb2.Status, trace_id: str = "") -> CandelaError:
    """Returns the error that a status tells of, in-band ones of batches and streams included."""
    kind = ERRORS.get(status.code, Internal)
    reason, metadata, retry_after = "", {}, None
    violations: list[FieldViolation] = []
    for detail in status.details:
        info, bad, retry, request = ErrorInfo(), BadRequest(), RetryInfo(), RequestInfo()
        if detail.Unpack(info) and info.domain == _DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            violations = [FieldViolation(v.field, v.description, v.reason) for v in bad.field_violations]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
        elif detail.Unpack(request):
            trace_id = request.request_id
    message = status.message if reason else _PLAIN.get(kind, "the call failed")
    return kind(
        message, reason=reason, metadata=metadata, violations=violations, retry_after=retry_after, trace_id=trace_id
    )


def from_rpc_error(error: grpc.RpcError) -> CandelaError:
    """Returns the error for what a call of gRPC raised, synchronous or not; the caller chains it as the cause."""
    code = getattr(error, "code", lambda: None)()
    if not isinstance(code, grpc.StatusCode):
        return Internal("the call failed")
    trailers = dict(getattr(error, "trailing_metadata", lambda: None)() or ())
    status = _status(trailers.get(_STATUS_TRAILER))
    if status is None or status.code != code.value[0]:
        status = status_pb2.Status(code=code.value[0])
    trace_id = trailers.get(_TRACE_TRAILER, "")
    return from_status(status, trace_id if isinstance(trace_id, str) else "")


def _status(raw: Any) -> status_pb2.Status | None:
    if not isinstance(raw, bytes):
        return None
    try:
        return status_pb2.Status.FromString(raw)
    except DecodeError:  # not ours; the code still says what happened
        return None
