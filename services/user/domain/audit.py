"""The audit log: a chain of entries per tenant, each sealed over the one before it.

Entries name people by opaque subject ids. Which subject is which user stands in a table of its own; erasing a person
deletes that row and leaves the chain whole.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

GENESIS = bytes(32)
_FORMATS = {1: "candela-audit-1", 2: "candela-audit-2"}
_FORMAT = 2  # of new entries; those of format 1 were sealed without method, resource, peer and trace
SYSTEM = "system"
"""The actor of what an operator did on the machine itself."""


class Action(StrEnum):
    """What happened."""

    USER_REGISTERED = "user.registered"
    USER_UPDATED = "user.updated"
    USER_ERASED = "user.erased"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105 - a name, no secret
    PASSWORD_WRONG = "password.wrong"  # noqa: S105 - a name, no secret
    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    LOGIN_THROTTLED = "login.throttled"
    SESSION_ENDED = "session.ended"
    REFRESH_REUSED = "refresh.reused"
    ACCESS_DENIED = "access.denied"
    API_KEY_CREATED = "api_key.created"
    API_KEY_UPDATED = "api_key.updated"
    API_KEY_ENDED = "api_key.ended"
    API_KEY_REFUSED = "api_key.refused"
    USERS_LISTED = "users.listed"
    USER_SUSPENDED = "user.suspended"
    USER_REINSTATED = "user.reinstated"
    USER_ROLE_SET = "user.role_set"
    AUDIT_LISTED = "audit.listed"
    AUDIT_VERIFIED = "audit.verified"
    ANNOUNCEMENT_CREATED = "announcement.created"
    ANNOUNCEMENT_UPDATED = "announcement.updated"
    ANNOUNCEMENT_DELETED = "announcement.deleted"
    SYSTEM_CONFIG_UPDATED = "system_config.updated"


class Outcome(StrEnum):
    """How it ended."""

    ALLOWED = "allowed"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth remembering.

    `actor` and `target` are subject ids, empty when unknown or nobody (an actor may also be SYSTEM). `resource` is what
    it was about beside them, such as `apiKeys/…`. `details` holds names and reasons, never values of a profile,
    addresses or secrets. What is known of the call (method, peer, trace) is added where the entry is written.
    """

    tenant: str
    time: datetime
    action: Action
    outcome: Outcome
    actor: str = ""
    target: str = ""
    session: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    resource: str = ""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The call that an entry is made by: its method, where it came from and its trace; empty when it was no call."""

    method: str = ""
    peer: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A link of the chain, in the words it is stored in; every one of them is under the seal."""

    tenant: str
    seq: int
    time: datetime
    action: str
    outcome: str
    actor: str
    target: str
    session: str
    details: str
    previous: bytes
    seal: bytes
    method: str = ""
    resource: str = ""
    peer: str = ""
    trace_id: str = ""
    format: int = _FORMAT


@dataclass(frozen=True, slots=True)
class Search:
    """Which entries of a tenant are wanted; empty parts and None mean any.

    `actor` and `target` are subjects, `method` a part of the method's name, the times a half-open span.
    """

    actor: str = ""
    target: str = ""
    resource: str = ""
    action: str = ""
    method: str = ""
    outcome: Outcome | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a tenant's chain: the last entry's number and seal."""

    tenant: str
    seq: int = 0
    seal: bytes = GENESIS


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a chain does not hold, and why."""

    tenant: str
    seq: int
    why: str


def seal_of(entry: Entry) -> bytes:
    """Return the SHA-256 over everything an entry says, its number and its predecessor's seal included."""
    parts: list[str | int] = [
        _FORMATS.get(entry.format, f"unknown format {entry.format}"),
        entry.tenant,
        entry.seq,
        entry.time.astimezone(UTC).isoformat(timespec="microseconds"),
        entry.action,
        entry.outcome,
        entry.actor,
        entry.target,
        entry.session,
        entry.details,
        entry.previous.hex(),
    ]
    later = [entry.method, entry.resource, entry.peer, entry.trace_id]
    if entry.format > 1 or any(later):  # an old entry has none of them, or somebody put it there
        parts += later
    # A JSON array keeps the parts apart whatever they contain.
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode("ascii")).digest()


def linked(head: Head, event: Event, made_by: Circumstances = Circumstances()) -> Entry:
    """Return the entry that continues the chain with `event`."""
    if event.tenant != head.tenant:
        raise ValueError("an event belongs to its own tenant's chain")
    details = json.dumps(dict(event.details), ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    entry = Entry(
        tenant=event.tenant,
        seq=head.seq + 1,
        time=event.time,
        action=event.action.value,
        outcome=event.outcome.value,
        actor=event.actor,
        target=event.target,
        session=event.session,
        details=details,
        previous=head.seal,
        seal=b"",
        method=made_by.method,
        resource=event.resource,
        peer=made_by.peer,
        trace_id=made_by.trace_id,
    )
    return replace(entry, seal=seal_of(entry))


class Walk:
    """Re-walks one tenant's chain, entry by entry in the order of their numbers."""

    def __init__(self, tenant: str, after: Head | None = None) -> None:
        """Begin at the chain's beginning, or behind an entry that is taken as it is."""
        self._tenant = tenant
        self._last = after or Head(tenant)
        self._begin = self._last.seq

    @property
    def length(self) -> int:
        """Return how many entries held so far."""
        return self._last.seq - self._begin

    @property
    def next(self) -> int:
        """Return the number that the next entry must have."""
        return self._last.seq + 1

    def step(self, entry: Entry) -> Break | None:
        """Check the next entry; None when it holds."""
        expected = self._last.seq + 1
        if entry.tenant != self._tenant:
            return Break(self._tenant, expected, "the entry is of another tenant")
        if entry.seq != expected:
            return Break(self._tenant, expected, f"entry {expected} is missing (found {entry.seq})")
        if entry.previous != self._last.seal:
            return Break(self._tenant, entry.seq, "the entry does not continue the one before it")
        if entry.seal != seal_of(entry):
            return Break(self._tenant, entry.seq, "the entry was changed after it was sealed")
        self._last = Head(self._tenant, entry.seq, entry.seal)
        return None

    def finish(self, head: Head | None) -> Break | None:
        """Check that the chain ends where its head says; None when it does."""
        if head is None and not self._last.seq:
            return None
        if head is None:
            return Break(self._tenant, self._last.seq + 1, "the head of the chain is missing")
        if head.seq > self._last.seq:
            return Break(self._tenant, self._last.seq + 1, f"the last {head.seq - self._last.seq} entries are missing")
        if head != self._last:
            return Break(self._tenant, head.seq, "the head of the chain is not its last entry")
        return None
