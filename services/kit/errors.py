"""The errors a service may answer with. Standard library only: domain code raises these.

CandelaError
├── InvalidArgument     a value is wrong whatever the state of the system
├── Unauthenticated     who is calling is not known
├── PermissionDenied    who is calling may not
├── NotFound            no such thing, or not for this caller (the two look the same)
├── AlreadyExists       the thing to create is there
├── FailedPrecondition  right request, wrong state; retrying does not help until the state changes
├── Aborted             lost a race; retry the whole read-modify-write
├── ResourceExhausted   a limit was reached; `retry_after` says when to come back
├── DeadlineExceeded    the caller's time ran out
├── Cancelled           the caller went away
├── Unimplemented       in the contract, not in this mesh
├── Unavailable         a part the answer needs is down; retry
├── DataLoss            stored data is damaged
└── Internal            our fault

`reason` is the name of a `candela.error.v1.ErrorReason` value without its prefix; metadata repeats the dynamic parts of
the message (AIP-193). grpc_status.py maps the tree to gRPC codes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field: its path in the request (`page_size`, `user.email`), what is wrong, and the rule broken."""

    field: str
    description: str
    rule: str = ""


class CandelaError(Exception):
    """An error with a stable reason; its message may be shown to the caller."""

    default_reason = "INTERNAL"
    default_retry_after: float | None = None

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
    ) -> None:
        """Keep the parts of the error; `retry_after` is in seconds, None for the class's own (mostly: no use)."""
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = self.default_retry_after if retry_after is None else retry_after


class InvalidArgument(CandelaError):
    """A value is wrong whatever the state of the system."""

    default_reason = "INVALID_ARGUMENT"


class Unauthenticated(CandelaError):
    """Who is calling is not known: no token, or one that does not hold."""

    default_reason = "TOKEN_INVALID"


class PermissionDenied(CandelaError):
    """The caller is known and may not do this."""

    default_reason = "PERMISSION_DENIED"


class NotFound(CandelaError):
    """There is no such thing for this caller; another tenant's thing looks exactly the same."""

    default_reason = "NOT_FOUND"


class AlreadyExists(CandelaError):
    """The thing to create exists."""

    default_reason = "ALREADY_EXISTS"


class FailedPrecondition(CandelaError):
    """The request is right and the state is not; retrying alone does not help."""

    default_reason = "FAILED_PRECONDITION"


class Aborted(CandelaError):
    """A concurrent change won; read again and retry."""

    default_reason = "CONFLICT"


class ResourceExhausted(CandelaError):
    """A limit was reached."""

    default_reason = "RATE_LIMITED"


class DeadlineExceeded(CandelaError):
    """The caller's deadline passed."""

    default_reason = "DEADLINE_EXCEEDED"


class Cancelled(CandelaError):
    """The caller went away."""

    default_reason = "CANCELLED"


class Unimplemented(CandelaError):
    """The contract has it and this mesh does not."""

    default_reason = "UNIMPLEMENTED"


class Unavailable(CandelaError):
    """A part that the answer needs is down for now; it is told when to come back, always."""

    default_reason = "UNAVAILABLE"
    default_retry_after = 1.0


class DataLoss(CandelaError):
    """Stored data is damaged."""

    default_reason = "DATA_LOSS"


class Internal(CandelaError):
    """A defect on our side; details go to the log, not to the caller."""

    default_reason = "INTERNAL"
