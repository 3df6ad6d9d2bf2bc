"""Sessions and their refresh tokens.

A session's refresh tokens form generations. Exactly one generation is current at any time; trading in one of its
tokens starts the next one and retires *all* tokens of the old one. A retired token is honoured for a few seconds more
(an answer was lost, two tabs raced) and then gets one more token of the generation that is current by then. Because
those siblings retire together, a thief and the owner can never both go on: whoever comes second comes with a retired
token, and after the grace that ends the session for both.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from services.kit.errors import NotFound, Unauthenticated

CURRENT = "current"


@dataclass(frozen=True, slots=True)
class SessionRules:
    """How long things live.

    `access_life` of an access token; `refresh_life` of a session since its last refresh; `longest_life` of a session
    since its log-in, however often it is refreshed; `grace` for a refresh token after its use.
    """

    access_life: timedelta = timedelta(minutes=15)
    refresh_life: timedelta = timedelta(days=30)
    longest_life: timedelta = timedelta(days=365)
    grace: timedelta = timedelta(seconds=10)


class Ended(Enum):
    """Whose tokens, or which key, a revocation ends."""

    SESSION = "session"
    USER = "user"
    API_KEY = "api_key"


@dataclass(frozen=True, slots=True)
class Revocation:
    """The tokens of a session, or all of a user's that were issued until then, ended at `time`."""

    tenant: str
    kind: Ended
    id: str
    time: datetime


class EndReason(Enum):
    """Why a session was ended before its time."""

    LOGGED_OUT = "logged_out"
    TOKEN_REUSED = "token_reused"  # noqa: S105 - a reason, no secret
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a reason, no secret
    USER_SUSPENDED = "user_suspended"


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in. `generation` is that of its living refresh tokens; `revoke_time` is None while it was not ended."""

    tenant: str
    id: str
    user: str
    device: str
    create_time: datetime
    last_refresh_time: datetime
    expire_time: datetime
    generation: int = 0
    revoke_time: datetime | None = None
    revoke_reason: EndReason | None = None

    def living(self, now: datetime) -> bool:
        """Say whether the session can be used at `now`."""
        return self.revoke_time is None and now < self.expire_time

    def ended(self, reason: EndReason, now: datetime) -> "Session":
        """Return the session as it is after its end."""
        return replace(self, revoke_time=now, revoke_reason=reason)


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What is kept of a refresh token: its SHA-256, never itself. `use_time` is when its generation was retired."""

    tenant: str
    digest: bytes
    session: str
    generation: int
    expire_time: datetime
    use_time: datetime | None = None


class Verdict(Enum):
    """What to do with a refresh token that was presented."""

    ROTATE = "rotate"  # the first use: the generation retires, the next one starts
    REPEAT = "repeat"  # again within the grace: one more token of the current generation
    REUSED = "reused"  # again after it: taken as stolen, the session ends
    EXPIRED = "expired"
    ENDED = "ended"
    UNKNOWN = "unknown"  # no token of ours, or one swept long after its end


def opened(tenant: str, session_id: str, user: str, device: str, now: datetime, rules: SessionRules) -> Session:
    """Return the session that a log-in starts."""
    return Session(
        tenant=tenant,
        id=session_id,
        user=user,
        device=device,
        create_time=now,
        last_refresh_time=now,
        expire_time=now + min(rules.refresh_life, rules.longest_life),
    )


def judge(session: Session, token: RefreshToken, now: datetime, rules: SessionRules) -> Verdict:
    """Say what a presented token deserves."""
    if session.revoke_time is not None:
        return Verdict.ENDED
    if now >= token.expire_time:
        return Verdict.EXPIRED
    if token.use_time is None:
        return Verdict.ROTATE
    return Verdict.REPEAT if now - token.use_time <= rules.grace else Verdict.REUSED


def refreshed(session: Session, verdict: Verdict, now: datetime, rules: SessionRules) -> Session:
    """Return the session after a refresh: ROTATE starts a new generation, REPEAT does not; both move its end."""
    expire_time = min(now + rules.refresh_life, session.create_time + rules.longest_life)
    generation = session.generation + (verdict is Verdict.ROTATE)
    return replace(session, generation=generation, last_refresh_time=now, expire_time=expire_time)


def refused(verdict: Verdict) -> Unauthenticated:
    """Return the error for a token that gets no new ones."""
    if verdict is Verdict.REUSED:
        return Unauthenticated(
            "this refresh token was used before: the session has ended, log in again", reason="REFRESH_TOKEN_REUSED"
        )
    if verdict is Verdict.EXPIRED:
        return Unauthenticated("this refresh token has expired, log in again", reason="TOKEN_EXPIRED")
    if verdict is Verdict.ENDED:
        return Unauthenticated("this session has ended, log in again", reason="SESSION_REVOKED")
    return Unauthenticated("this is no refresh token of ours", reason="TOKEN_INVALID")


def no_such_session() -> NotFound:
    """Return the one answer for a session that is not there, not living, or not the caller's."""
    return NotFound("there is no such session", metadata={"resource": "session"})
