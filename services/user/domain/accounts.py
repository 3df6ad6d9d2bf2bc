"""Accounts: who a user is, what identifies one at log-in, and how a profile changes."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from services.kit.errors import Aborted, AlreadyExists, FailedPrecondition, FieldViolation, InvalidArgument, NotFound
from services.user.domain.masks import check_mask

DEFAULT_PLAN = "free"
PASSWORD_MAX_BYTES = 72
CHANGEABLE = ("email", "phone", "username", "display_name")
_OUTPUT_ONLY = frozenset({"name", "role", "plan", "credits", "state", "etag", "create_time", "update_time"})
_OUTPUT_ONLY |= {"email_verified", "phone_verified"}

_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_USERNAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{2,31}")
_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")  # printable ASCII around one @; the contract's rule is stricter
_PHONE_DECORATION = re.compile(r"[\s()./-]")


class Role(StrEnum):
    """What a user may do; the permissions of each are fixed by the kit's access table."""

    FREE = "FREE"
    PRO = "PRO"
    ENTERPRISE = "ENTERPRISE"
    ADMIN = "ADMIN"


class State(StrEnum):
    """Whether an account can be used."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class IdentifierKind(StrEnum):
    """What a user may log in with. Their shapes never overlap: `@` inside, `+` in front, neither."""

    EMAIL = "email"
    PHONE = "phone"
    USERNAME = "username"


@dataclass(frozen=True, slots=True)
class Identifier:
    """What somebody typed to say who they are, in the form that accounts are found by."""

    kind: IdentifierKind
    value: str


@dataclass(frozen=True, slots=True)
class User:
    """One account. Empty strings mean "none"; `revision` counts the changes and makes the etag."""

    tenant: str
    id: str
    email: str
    phone: str
    username: str
    display_name: str
    create_time: datetime
    update_time: datetime
    password_hash: bytes = field(repr=False)
    role: Role = Role.FREE
    plan: str = DEFAULT_PLAN
    state: State = State.ACTIVE
    email_verified: bool = False
    phone_verified: bool = False
    revision: int = 1

    @property
    def etag(self) -> str:
        """Changes with every change of the account."""
        return f"r{self.revision}"

    @property
    def username_key(self) -> str:
        """Return what usernames are compared by: `Ada` and `ada` are one name."""
        return self.username.lower()

    @property
    def search_text(self) -> str:
        """Return what `UserSearch.query` is looked for in, case-folded."""
        return "\n".join(folded(part) for part in (self.email, self.phone, self.username, self.display_name))

    @property
    def suspended(self) -> bool:
        return self.state is State.SUSPENDED


@dataclass(frozen=True, slots=True)
class UserSearch:
    """Which accounts an admin looks for; empty strings and None mean any.

    `query` is a part of an e-mail address, phone number, username or display name, in any case.
    """

    query: str = ""
    role: Role | None = None
    state: State | None = None
    plan: str = ""

    @property
    def filters(self) -> str:
        """Return the names of the filters that are set, without what they look for."""
        return ",".join(name for name in ("query", "role", "state", "plan") if getattr(self, name))


@dataclass(frozen=True, slots=True)
class Registration:
    """What somebody who registers says. The password's bytes never show in a repr."""

    email: str
    phone: str
    username: str
    display_name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """New values of a profile, the names of those that count, and the etag they were made from (empty: any)."""

    email: str
    phone: str
    username: str
    display_name: str
    paths: tuple[str, ...]
    etag: str = ""


def folded(text: str) -> str:
    """Return a text in the form that is compared without regard to case."""
    return text.casefold()


def normal_email(text: str) -> str:
    """Return an e-mail address as it is stored and compared."""
    return text.strip().lower()


def identifier(text: str) -> Identifier | None:
    """Return what a log-in names, None for a text that can name no account."""
    text = text.strip()
    if "@" in text:
        return Identifier(IdentifierKind.EMAIL, text.lower()) if _EMAIL.fullmatch(text) else None
    if text.startswith("+"):
        phone = _PHONE_DECORATION.sub("", text)
        return Identifier(IdentifierKind.PHONE, phone) if _PHONE.fullmatch(phone) else None
    return Identifier(IdentifierKind.USERNAME, text.lower()) if _USERNAME.fullmatch(text) else None


def check_password(password: str, name: str = "password") -> None:
    """Refuse with InvalidArgument what bcrypt would cut short; `name` is the field to blame."""
    if len(password.encode()) > PASSWORD_MAX_BYTES:
        text = f"must be at most {PASSWORD_MAX_BYTES} bytes of UTF-8"
        violation = FieldViolation(name, text, rule="password.max_bytes")
        raise InvalidArgument(f"{name} {text}", violations=[violation])


def check_paths(paths: Collection[str]) -> None:
    """Refuse with InvalidArgument a mask that is empty or names what a user cannot change."""
    check_mask(paths, "a user", changeable=CHANGEABLE, output_only=_OUTPUT_ONLY)


def changed(user: User, change: ProfileChange, now: datetime) -> tuple[User, tuple[str, ...]]:
    """Return the account after a change and the names of the fields that really differ.

    Raises Aborted (ETAG_MISMATCH) for an old etag and FailedPrecondition when no way to log in would be left. A new
    e-mail address or phone number is unconfirmed. A change that changes nothing returns the account as it was.
    """
    check_paths(change.paths)
    if change.etag and change.etag != user.etag:
        raise Aborted("the account was changed since it was read", reason="ETAG_MISMATCH", metadata={"etag": user.etag})
    after = replace(
        user,
        email=normal_email(change.email) if "email" in change.paths else user.email,
        phone=change.phone if "phone" in change.paths else user.phone,
        username=change.username if "username" in change.paths else user.username,
        display_name=change.display_name if "display_name" in change.paths else user.display_name,
        update_time=now,
        revision=user.revision + 1,
    )
    differing = tuple(path for path in CHANGEABLE if getattr(after, path) != getattr(user, path))
    if not differing:
        return user, ()
    if not (after.email or after.phone or after.username):
        raise FailedPrecondition("the last way to log in cannot be cleared; set another one first")
    return replace(
        after,
        email_verified=user.email_verified and "email" not in differing,
        phone_verified=user.phone_verified and "phone" not in differing,
    ), differing


def taken(field_name: str) -> AlreadyExists:
    """Return the error for an e-mail address, phone number or username that another account has."""
    return AlreadyExists(f"this {field_name} is taken", metadata={"field": field_name})


def no_such_user() -> NotFound:
    """Return the one answer for an account that is not there and for one that is not the caller's."""
    return NotFound("there is no such user", metadata={"resource": "user"})
