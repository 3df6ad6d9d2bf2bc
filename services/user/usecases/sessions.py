"""Sessions: log in, stay logged in, see and end one's sessions."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.kit.call import DEFAULT_TENANT, Call
from services.kit.errors import PermissionDenied
from services.kit.live_settings import SESSION_LIFE
from services.kit.paging import Page, PageRequest
from services.user.domain import accounts, sessions
from services.user.domain.accounts import User
from services.user.domain.audit import Action, Event, Outcome
from services.user.domain.sessions import (
    Ended,
    EndReason,
    RefreshToken,
    Revocation,
    Session,
    SessionRules,
    Verdict,
)
from services.user.ports import AccessToken, UserTx
from services.user.usecases.attempts import Attempt, Attempts, wrong_credentials
from services.user.usecases.common import Outside, deny, signed_in, spread, throttle_key


@dataclass(frozen=True, slots=True)
class Grant:
    """A session and its new tokens. The tokens never show in a repr."""

    session: Session
    access: AccessToken = field(repr=False)
    refresh_token: str = field(repr=False)
    refresh_expire_time: datetime


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a refresh token gets nothing, and what had to be revoked for it."""

    verdict: Verdict
    revocations: tuple[Revocation, ...] = ()


class SignIn:
    """The life of sessions."""

    def __init__(self, outside: Outside, attempts: Attempts, rules: SessionRules) -> None:
        self._outside = outside
        self._attempts = attempts
        self._rules = rules

    async def log_in(self, identifier_text: str, password: str, device: str) -> Grant:
        """Open a session; Unauthenticated, ResourceExhausted or PermissionDenied as the contract says."""
        identifier = accounts.identifier(identifier_text)
        self._outside.hasher.admit()  # before the attempt is counted: being busy is not the caller's failure
        async with self._attempts.turns.one(throttle_key("", identifier, identifier_text)):
            attempt = await self._attempts.begin(DEFAULT_TENANT, identifier, identifier_text)
            user = await self._attempts.check(attempt, password, Action.LOGIN_FAILED)
            return await self._open(attempt, user, device)

    async def _open(self, attempt: Attempt, verified: User, device: str) -> Grant:
        now = self._outside.clock.now()
        async with self._outside.units.write() as tx:
            user = await tx.users.get(verified.tenant, verified.id, lock=True)
            # Between the two transactions the account may have been erased or given another password.
            right = user is not None and user.password_hash == verified.password_hash
            grant = None
            if user is not None and right:
                await tx.throttles.clear(attempt.tenant, attempt.key)
                grant = None if user.suspended else await self._grant_new(tx, user, device, now)
            await tx.audit.append(_login_event(attempt, now, grant, right=right))
        if not right:
            raise wrong_credentials()
        if grant is None:
            raise _suspended()
        return grant

    async def _grant_new(self, tx: UserTx, user: User, device: str, now: datetime) -> Grant:
        rules = self._rules_of(user.tenant)
        session = sessions.opened(user.tenant, self._outside.ids.new(), user.id, device, now, rules)
        await tx.sessions.add(session)
        return await self._grant(tx, user, session, now)

    async def _grant(self, tx: UserTx, user: User, session: Session, now: datetime) -> Grant:
        secret = self._outside.refresh_secrets.new()
        token = RefreshToken(session.tenant, digest_of(secret), session.id, session.generation, session.expire_time)
        await tx.sessions.add_token(token)
        ends = min(now + self._rules.access_life, session.expire_time)
        return Grant(session, self._outside.access_tokens.issue(user, session, ends), secret, session.expire_time)

    async def refresh(self, refresh_token: str) -> Grant:
        """Trade a refresh token for new tokens; Unauthenticated as the contract says."""
        now = self._outside.clock.now()
        async with self._outside.units.write() as tx:
            result = await self._refresh(tx, digest_of(refresh_token), now)
        if isinstance(result, Grant):
            return result
        await spread(self._outside, result.revocations)
        raise sessions.refused(result.verdict)

    async def _refresh(self, tx: UserTx, digest: bytes, now: datetime) -> Grant | _Refusal:
        found = await tx.sessions.token(digest)
        session = await tx.sessions.get(found.tenant, found.session) if found else None
        # The account first, as everywhere, and locked: a role or a state that is being changed is waited for.
        user = await tx.users.get(session.tenant, session.user, lock=True) if session else None
        session = await tx.sessions.get(session.tenant, session.id, lock=True) if session else None
        token = await tx.sessions.token(digest)  # again: who held the lock before may have used it
        if session is None or token is None:
            return _Refusal(Verdict.UNKNOWN)
        verdict = sessions.judge(session, token, now, self._rules)
        if verdict is Verdict.REUSED:
            return _Refusal(verdict, (await self._stolen(tx, session, now),))
        if verdict not in (Verdict.ROTATE, Verdict.REPEAT) or user is None or user.suspended:
            return _Refusal(verdict if verdict in (Verdict.EXPIRED, Verdict.ENDED) else Verdict.ENDED)
        if verdict is Verdict.ROTATE:
            await tx.sessions.retire(session, session.generation, now)
        session = sessions.refreshed(session, verdict, now, self._rules_of(session.tenant))
        await tx.sessions.update(session)
        return await self._grant(tx, user, session, now)

    def _rules_of(self, tenant: str) -> SessionRules:
        live = self._outside.live
        return replace(self._rules, refresh_life=live.get(SESSION_LIFE, tenant)) if live else self._rules

    async def _stolen(self, tx: UserTx, session: Session, now: datetime) -> Revocation:
        subject = await tx.subjects.of(session.tenant, session.user)
        revocation = await _end(tx, session, EndReason.TOKEN_REUSED, now)
        event = Event(session.tenant, now, Action.REFRESH_REUSED, Outcome.DENIED, "", subject, session.id)
        await tx.audit.append(event)
        return revocation

    async def list(self, call: Call, page: PageRequest) -> Page[Session]:
        """Return a page of the caller's living sessions, the newest first."""
        caller = signed_in(call)
        now = self._outside.clock.now()
        async with self._outside.units.read() as tx:
            return await tx.sessions.living(caller.tenant, caller.user, now, page)

    async def end(self, call: Call, session_id: str) -> None:
        """End one of the caller's living sessions (`current`: the caller's own); NotFound otherwise."""
        caller = signed_in(call)
        wanted = caller.session if session_id == sessions.CURRENT else session_id
        now = self._outside.clock.now()
        async with self._outside.units.read() as tx:
            session = await tx.sessions.get(caller.tenant, wanted)
        if session is None or session.user != caller.user:
            await deny(self._outside, call, "session")  # written for both alike: the time must not tell them apart
            raise sessions.no_such_session()
        async with self._outside.units.write(call) as tx:
            session = await tx.sessions.get(caller.tenant, wanted, lock=True)
            if session is None or not session.living(now):
                raise sessions.no_such_session()
            revocation = await _end(tx, session, EndReason.LOGGED_OUT, now)
            subject = await tx.subjects.of(caller.tenant, caller.user)
            await tx.audit.append(
                Event(caller.tenant, now, Action.SESSION_ENDED, Outcome.ALLOWED, subject, subject, session.id)
            )
            tx.reply(None)
        await spread(self._outside, [revocation])

    async def end_others(self, call: Call) -> int:
        """End all living sessions of the caller but the one of the call; return how many there were."""
        caller = signed_in(call)
        now = self._outside.clock.now()
        async with self._outside.units.write(call) as tx:
            ended = await tx.sessions.end_others(caller.tenant, caller.user, caller.session, EndReason.LOGGED_OUT, now)
            revocations = [Revocation(caller.tenant, Ended.SESSION, session, now) for session in ended]
            await tx.revocations.add(revocations)
            subject = await tx.subjects.of(caller.tenant, caller.user)
            details = {"sessions_ended": str(len(ended))}
            await tx.audit.append(
                Event(caller.tenant, now, Action.SESSION_ENDED, Outcome.ALLOWED, subject, subject, details=details)
            )
            tx.reply(len(ended))
        await spread(self._outside, revocations)
        return len(ended)


def digest_of(refresh_token: str) -> bytes:
    """Return what is stored of a refresh token. Its 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(refresh_token.encode()).digest()


def _suspended() -> PermissionDenied:
    return PermissionDenied("this account is suspended", reason="USER_SUSPENDED")


def _login_event(attempt: Attempt, now: datetime, grant: Grant | None, *, right: bool) -> Event:
    who = attempt.subject
    if grant is not None:
        return Event(attempt.tenant, now, Action.LOGIN_SUCCEEDED, Outcome.ALLOWED, who, who, grant.session.id)
    reason = {"reason": "suspended" if right else "changed"}
    return Event(attempt.tenant, now, Action.LOGIN_FAILED, Outcome.DENIED, "", who, details=reason)


async def _end(tx: UserTx, session: Session, reason: EndReason, now: datetime) -> Revocation:
    """Mark a locked session as ended and put its revocation into the log that Redis is healed from."""
    await tx.sessions.update(session.ended(reason, now))
    revocation = Revocation(session.tenant, Ended.SESSION, session.id, now)
    await tx.revocations.add([revocation])
    return revocation
