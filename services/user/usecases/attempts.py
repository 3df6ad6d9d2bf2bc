"""Password attempts: counted before they are looked at, cleared by the right password."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from services.kit.errors import Unauthenticated
from services.user.domain import throttling
from services.user.domain.accounts import Identifier, User
from services.user.domain.audit import Action, Event, Outcome
from services.user.domain.throttling import Throttle, ThrottleRules
from services.user.ports import UserTx
from services.user.usecases.common import Outside, throttle_key


def wrong_credentials() -> Unauthenticated:
    """Return the one answer for an unknown user and for a wrong password."""
    return Unauthenticated("the name or the password is wrong", reason="CREDENTIALS_INVALID")


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was counted and may now look at the password."""

    tenant: str
    user: User | None
    key: str
    subject: str


class Turns:
    """Lets one attempt per identifier in at a time, within this process.

    Ten right log-ins at once shall all succeed: were all counted before the first was found right, the sixth would be
    refused. (Across processes the count alone decides.) Holds as many locks as there are attempts waiting.
    """

    def __init__(self) -> None:
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def one(self, key: str) -> AsyncIterator[None]:
        """Wait for the turn of `key`, first come first served."""
        lock, waiting = self._turns.get(key, (asyncio.Lock(), 0))
        self._turns[key] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            _, waiting = self._turns.pop(key)
            if waiting > 1:
                self._turns[key] = (lock, waiting - 1)


class Attempts:
    """Bounds password guesses for log-in and password change alike."""

    def __init__(self, outside: Outside, rules: ThrottleRules) -> None:
        self._outside = outside
        self._rules = rules
        self.turns = Turns()

    async def begin(self, tenant: str, identifier: Identifier | None, text: str) -> Attempt:
        """Count a log-in attempt; ResourceExhausted (LOGIN_THROTTLED) while log-ins of this account are closed."""
        async with self._outside.units.write() as tx:
            user = await tx.users.identified(tenant, identifier) if identifier else None
            key = throttle_key(user.id if user else "", identifier, text)
            attempt, remaining = await self._count(tx, tenant, user, key)
        return self._admitted(attempt, remaining)

    async def begin_own(self, tenant: str, user_id: str) -> Attempt:
        """Count an attempt by a signed-in user; like `begin`."""
        async with self._outside.units.write() as tx:
            user = await tx.users.get(tenant, user_id)
            attempt, remaining = await self._count(tx, tenant, user, throttle_key(user_id, None, ""))
        return self._admitted(attempt, remaining)

    async def check(self, attempt: Attempt, password: str, action: Action, session: str = "") -> User:
        """Return the user when the password is right; else remember `action` and raise Unauthenticated.

        Takes the same time without a user. The count is cleared by the caller, in the transaction that does the work.
        """
        known = attempt.user.password_hash if attempt.user else None
        right = await self._outside.hasher.verify(password, known)
        if right and attempt.user is not None:
            return attempt.user
        await self.note_failure(attempt, action, session, {} if attempt.user else {"reason": "unknown"})
        raise wrong_credentials()

    async def note_failure(self, attempt: Attempt, action: Action, session: str, details: Mapping[str, str]) -> None:
        """Write a failed attempt into the audit log; in a transaction of its own, so that it stays."""
        async with self._outside.units.write() as tx:
            await tx.audit.append(self._event(attempt, action, session, details))

    async def _count(self, tx: UserTx, tenant: str, user: User | None, key: str) -> tuple[Attempt, timedelta]:
        now = self._outside.clock.now()
        throttle = await tx.throttles.lock(tenant, key, now, known=user is not None)
        attempt = Attempt(tenant, user, key, await tx.subjects.of(tenant, user.id if user else ""))
        remaining = throttle.remaining(now)
        if remaining:
            await self._note_closed(tx, attempt, throttle)
        else:
            await tx.throttles.save(throttle.counted(now, self._rules))
        return attempt, remaining

    async def _note_closed(self, tx: UserTx, attempt: Attempt, throttle: Throttle) -> None:
        if throttle.noted:  # hammering a closed door shall not fill the log
            return
        await tx.throttles.save(replace(throttle, noted=True))
        details = {"failures": str(throttle.failures)}
        await tx.audit.append(self._event(attempt, Action.LOGIN_THROTTLED, "", details))

    def _admitted(self, attempt: Attempt, remaining: timedelta) -> Attempt:
        if remaining:
            raise throttling.closed(remaining)
        return attempt

    def _event(self, attempt: Attempt, action: Action, session: str, details: Mapping[str, str]) -> Event:
        return Event(
            tenant=attempt.tenant,
            time=self._outside.clock.now(),
            action=action,
            outcome=Outcome.DENIED,
            target=attempt.subject,
            session=session,
            details=details,
        )
