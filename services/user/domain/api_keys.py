"""API keys: what they may be used for, how they change and when they end."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, StrEnum

from services.kit.errors import Aborted, FailedPrecondition, FieldViolation, InvalidArgument, NotFound
from services.user.domain.masks import check_mask

CHANGEABLE = ("display_name", "budget_micro_credits", "requests_per_minute")
_FIELDS = (*CHANGEABLE, "name", "prefix", "scopes", "spent_micro_credits", "create_time", "expire_time")
_OUTPUT_ONLY = frozenset(_FIELDS) - frozenset(CHANGEABLE) | {"last_use_time", "etag"}


class Scope(StrEnum):
    """What a key may be used for; the names of the contract's ApiKeyScope without their prefix."""

    RECOGNITION = "RECOGNITION"
    GENERATION = "GENERATION"
    CHAT = "CHAT"
    PAYMENT_READ = "PAYMENT_READ"
    FILES = "FILES"


class KeyEnd(Enum):
    """Why a key was ended before its time."""

    DELETED = "deleted"
    USER_SUSPENDED = "user_suspended"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, without its secret. Budgets are micro-credits; None means "no limit of its own" or "never"."""

    tenant: str
    id: str
    user: str
    prefix: str
    display_name: str
    scopes: frozenset[Scope]
    create_time: datetime
    budget_micro_credits: int | None = None
    requests_per_minute: int | None = None
    expire_time: datetime | None = None
    last_use_time: datetime | None = None
    revoke_time: datetime | None = None
    revoke_reason: KeyEnd | None = None
    revision: int = 1

    @property
    def etag(self) -> str:
        """Changes with every change by the owner, and not with every use."""
        return f"r{self.revision}"

    @property
    def ended(self) -> bool:
        """Say whether the key was ended for good."""
        return self.revoke_time is not None

    def expired(self, now: datetime) -> bool:
        """Say whether the key's time is over."""
        return self.expire_time is not None and now >= self.expire_time

    def end(self, reason: KeyEnd, now: datetime) -> "ApiKey":
        """Return the key as it is after its end."""
        return replace(self, revoke_time=now, revoke_reason=reason)


@dataclass(frozen=True, slots=True)
class NewKey:
    """What somebody who makes a key asks for."""

    display_name: str
    scopes: frozenset[Scope]
    budget_micro_credits: int | None = None
    requests_per_minute: int | None = None
    expire_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyChange:
    """New values of a key, the names of those that count, and the etag they were made from (empty: any)."""

    display_name: str
    budget_micro_credits: int | None
    requests_per_minute: int | None
    paths: tuple[str, ...]
    etag: str = ""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """When a key was used last."""

    tenant: str
    key: str
    time: datetime


@dataclass(frozen=True, slots=True)
class KeyRefusal:
    """What a known key was refused somewhere in the mesh, and how often. `reason` is the name of an ErrorReason."""

    tenant: str
    key: str
    method: str
    reason: str
    count: int


def check_new(wanted: NewKey, now: datetime) -> None:
    """Refuse with InvalidArgument a key that would be over before it begins."""
    if wanted.expire_time is not None and wanted.expire_time <= now:
        text = "must be in the future"
        violation = FieldViolation("expire_time", text, rule="timestamp.gt_now")
        raise InvalidArgument(f"expire_time {text}", violations=[violation])


def check_count(living: int, most: int) -> None:
    """Refuse with FailedPrecondition one more key than a user may have."""
    if living >= most:
        text = f"you have {living} API keys, and {most} is the most; delete one first"
        raise FailedPrecondition(text, metadata={"limit": str(most)})


def check_paths(paths: Collection[str]) -> None:
    """Refuse with InvalidArgument a mask that is empty or names what cannot be changed."""
    check_mask(paths, "an API key", changeable=CHANGEABLE, output_only=_OUTPUT_ONLY)


def changed(key: ApiKey, change: KeyChange) -> tuple[ApiKey, tuple[str, ...]]:
    """Return the key after a change, and the changes in words (`field: old → new`), none when nothing differs.

    Raises Aborted (ETAG_MISMATCH) for an old etag and InvalidArgument for an empty name or an impossible mask.
    """
    check_paths(change.paths)
    if "display_name" in change.paths and not change.display_name:
        violation = FieldViolation("api_key.display_name", "must not be empty", rule="required")
        raise InvalidArgument("api_key.display_name must not be empty", violations=[violation])
    if change.etag and change.etag != key.etag:
        raise Aborted("the key was changed since it was read", reason="ETAG_MISMATCH", metadata={"etag": key.etag})
    values = {path: getattr(change, path) for path in CHANGEABLE if path in change.paths}
    after = replace(key, **values, revision=key.revision + 1)
    differing = [path for path in CHANGEABLE if getattr(after, path) != getattr(key, path)]
    if not differing:
        return key, ()
    return after, tuple(_in_words(path, key, after) for path in differing)


def _in_words(path: str, before: ApiKey, after: ApiKey) -> str:
    if path == "display_name":  # the owner's own words do not belong into a log that is never erased
        return path
    old, new = (getattr(key, path) for key in (before, after))
    return f"{path}: {'none' if old is None else old} → {'none' if new is None else new}"


def no_such_key() -> NotFound:
    """Return the one answer for a key that is not there, ended, or not the caller's."""
    return NotFound("there is no such API key", metadata={"resource": "apiKey"})
