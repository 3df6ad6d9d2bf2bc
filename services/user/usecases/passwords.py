"""Changing a password: a log-in attempt, a new hash, and the end of every other session."""

from dataclasses import replace
from datetime import datetime

from services.kit.call import Call, Principal
from services.kit.errors import Aborted
from services.user.domain import accounts
from services.user.domain.accounts import User, no_such_user
from services.user.domain.audit import Action, Event, Outcome
from services.user.domain.sessions import Ended, EndReason, Revocation
from services.user.ports import UserTx
from services.user.usecases.attempts import Attempt, Attempts
from services.user.usecases.common import Outside, own_account, raise_replay, spread


class Passwords:
    """Password changes by their owners."""

    def __init__(self, outside: Outside, attempts: Attempts) -> None:
        self._outside = outside
        self._attempts = attempts

    async def change(self, call: Call, user_id: str, current: str, new: str) -> None:
        """Set a new password and end all other sessions of the caller.

        Unauthenticated (CREDENTIALS_INVALID) for a wrong current password, which counts like one at log-in.
        """
        accounts.check_password(new, "new_password")
        caller = await own_account(self._outside, call, user_id)
        call = self._outside.blinder.blinded(call)
        await raise_replay(self._outside.units, call)
        self._outside.hasher.admit()
        async with self._attempts.turns.one(f"u:{caller.user}"):
            attempt = await self._attempts.begin_own(caller.tenant, caller.user)
            user = await self._attempts.check(attempt, current, Action.PASSWORD_WRONG, caller.session)
        password_hash = await self._outside.hasher.hash(new)
        now = self._outside.clock.now()
        async with self._outside.units.write(call) as tx:
            await self._set(tx, user, password_hash, now)
            ended = await _end_others(tx, caller, now)
            await tx.throttles.clear(attempt.tenant, attempt.key)
            await tx.audit.append(_changed(attempt, caller, now, len(ended)))
            tx.reply(None)
        await spread(self._outside, ended)

    async def _set(self, tx: UserTx, verified: User, password_hash: bytes, now: datetime) -> None:
        user = await tx.users.get(verified.tenant, verified.id, lock=True)
        if user is None:
            raise no_such_user()
        if user.password_hash != verified.password_hash:
            raise Aborted("the password was changed by another call")
        changed = replace(user, password_hash=password_hash, update_time=now, revision=user.revision + 1)
        await tx.users.update(changed)


async def _end_others(tx: UserTx, caller: Principal, now: datetime) -> list[Revocation]:
    reason = EndReason.PASSWORD_CHANGED
    ended = await tx.sessions.end_others(caller.tenant, caller.user, caller.session, reason, now)
    revocations = [Revocation(caller.tenant, Ended.SESSION, session, now) for session in ended]
    await tx.revocations.add(revocations)
    return revocations


def _changed(attempt: Attempt, caller: Principal, now: datetime, ended: int) -> Event:
    return Event(
        tenant=caller.tenant,
        time=now,
        action=Action.PASSWORD_CHANGED,
        outcome=Outcome.ALLOWED,
        actor=attempt.subject,
        target=attempt.subject,
        session=caller.session,
        details={"sessions_ended": str(ended)},
    )
