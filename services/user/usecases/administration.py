"""What admins do with the accounts of their tenant. Every call is in the audit log before it is answered.

Locks are taken in one order everywhere: the tenant's admins by their ids, then the account that changes. So of two
admins who demote or suspend each other at once exactly one succeeds, on every database.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from services.kit.call import Call, Principal
from services.kit.errors import CandelaError, FailedPrecondition, PermissionDenied
from services.kit.paging import Page, PageRequest
from services.user.domain.accounts import Role, State, User, UserSearch, no_such_user
from services.user.domain.api_keys import KeyEnd
from services.user.domain.audit import Action, Event, Outcome
from services.user.domain.sessions import Ended, EndReason, Revocation
from services.user.ports import UserTx
from services.user.usecases.common import Outside, signed_in, spread


class Administration:
    """Listing, suspending, reinstating, giving roles."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def list(self, call: Call, wanted: UserSearch, page: PageRequest) -> Page[User]:
        """Return a page of the tenant's accounts, the newest first; it may be short with more behind it."""
        caller = signed_in(call)
        async with self._outside.units.read(call, may_lag=True) as tx:
            found = await tx.users.search(caller.tenant, wanted, page)
        details = {"filters": wanted.filters} if wanted.filters else {}
        async with self._outside.units.write() as tx:
            await self._note(tx, Action.USERS_LISTED, caller, None, details)
        return found

    async def suspend(self, call: Call, user_id: str, comment: str) -> User:
        """Shut an account and end its sessions and keys; FailedPrecondition for the caller's own."""
        caller = signed_in(call)
        ended: list[Revocation] = []

        async def work(tx: UserTx) -> User:
            ended.clear()
            if user_id == caller.user:
                raise FailedPrecondition("you cannot suspend your own account", metadata={"user": "users/me"})
            user = await self._locked(tx, caller, user_id)
            now = self._outside.clock.now()  # under the lock: later than any token that was issued before this
            after = user
            if not user.suspended:
                after = _changed(user, now, state=State.SUSPENDED)
                await tx.users.update(after)
                ended.extend(await _end_everything(tx, user, now))
            await self._note(tx, Action.USER_SUSPENDED, caller, user, _words(user, after) | {"comment": comment})
            tx.reply(after, owner=user.id)
            return after

        suspended = await self._noting_failure(call, Action.USER_SUSPENDED, user_id, work)
        await spread(self._outside, ended)
        return suspended

    async def reinstate(self, call: Call, user_id: str, comment: str) -> User:
        """Open a suspended account again; what was ended stays ended."""
        caller = signed_in(call)

        async def work(tx: UserTx) -> User:
            user = await self._locked(tx, caller, user_id)
            after = _changed(user, self._outside.clock.now(), state=State.ACTIVE) if user.suspended else user
            await tx.users.update(after)
            await self._note(tx, Action.USER_REINSTATED, caller, user, _words(user, after) | {"comment": comment})
            tx.reply(after, owner=user.id)
            return after

        return await self._noting_failure(call, Action.USER_REINSTATED, user_id, work)

    async def set_role(self, call: Call, user_id: str, role: Role) -> User:
        """Give a role; access tokens from before end. FailedPrecondition when the last admin would lose it."""
        caller = signed_in(call)
        ended: list[Revocation] = []

        async def work(tx: UserTx) -> User:
            ended.clear()
            user = await self._locked(tx, caller, user_id, keep_admin=role is not Role.ADMIN)
            after = user
            if user.role is not role:
                after = await give_role(tx, user, role, self._outside.clock.now(), ended)
            await self._note(tx, Action.USER_ROLE_SET, caller, user, _words(user, after))
            tx.reply(after, owner=user.id)
            return after

        changed = await self._noting_failure(call, Action.USER_ROLE_SET, user_id, work)
        await spread(self._outside, ended)
        return changed

    async def _noting_failure(
        self, call: Call, action: Action, user_id: str, work: Callable[[UserTx], Awaitable[User]]
    ) -> User:
        """Do `work`; a failure is in the audit log before it is told, in a transaction of its own."""
        try:
            return await self._outside.units.run(call, work)
        except CandelaError as error:
            outcome = Outcome.DENIED if isinstance(error, PermissionDenied) else Outcome.FAILED
            with suppress(CandelaError):  # a database that is away: the first failure says so
                await self._note_failure(call.caller, action, user_id, outcome, error.reason)
            raise

    async def _note_failure(
        self, caller: Principal, action: Action, user_id: str, outcome: Outcome, reason: str
    ) -> None:
        now = self._outside.clock.now()
        async with self._outside.units.write() as tx:
            actor, target = [await tx.subjects.of(caller.tenant, user) for user in (caller.user, user_id)]
            details = {"reason": reason}
            await tx.audit.append(Event(caller.tenant, now, action, outcome, actor, target, caller.session, details))

    async def _locked(self, tx: UserTx, caller: Principal, user_id: str, *, keep_admin: bool = False) -> User:
        """Return the account to change, under the locks that keep the tenant's admins as they are."""
        admins = await tx.users.lock_admins(caller.tenant)
        if caller.user not in admins:  # demoted or suspended by a call that ran beside this one
            raise PermissionDenied("this needs the permission write:admin", metadata={"permission": "write:admin"})
        user = await tx.users.get(caller.tenant, user_id, lock=True)
        if user is None:
            raise no_such_user()
        if keep_admin and admins == [user.id]:
            raise FailedPrecondition("this is the last admin; make somebody else an admin first")
        return user

    async def _note(
        self, tx: UserTx, action: Action, caller: Principal, target: User | None, details: Mapping[str, str]
    ) -> None:
        actor = await tx.subjects.of(caller.tenant, caller.user)
        subject = await tx.subjects.of(target.tenant, target.id) if target else ""
        now, allowed = self._outside.clock.now(), Outcome.ALLOWED
        await tx.audit.append(Event(caller.tenant, now, action, allowed, actor, subject, caller.session, details))


async def give_role(tx: UserTx, user: User, role: Role, now: datetime, ended: "list[Revocation]") -> User:
    """Store another role of a locked account; what its tokens end by is remembered and added to `ended`."""
    after = _changed(user, now, role=role)
    await tx.users.update(after)
    gone = Revocation(user.tenant, Ended.USER, user.id, now)
    await tx.revocations.add([gone])
    ended.append(gone)
    return after


def _changed(user: User, now: datetime, *, role: Role | None = None, state: State | None = None) -> User:
    return replace(user, role=role or user.role, state=state or user.state, update_time=now, revision=user.revision + 1)


def _words(before: User, after: User) -> dict[str, str]:
    """Return what differs as the audit log says it, nothing when nothing does."""
    names = (name for name in ("role", "state") if getattr(before, name) != getattr(after, name))
    words = [f"{name}: {getattr(before, name).value} → {getattr(after, name).value}" for name in names]
    return {"changes": "\n".join(words)} if words else {}


async def _end_everything(tx: UserTx, user: User, now: datetime) -> "list[Revocation]":
    await tx.sessions.end_others(user.tenant, user.id, "", EndReason.USER_SUSPENDED, now)
    keys = await tx.api_keys.end_all(user.tenant, user.id, KeyEnd.USER_SUSPENDED, now)
    gone = [Revocation(user.tenant, Ended.USER, user.id, now)]  # every token of every session
    gone += [Revocation(user.tenant, Ended.API_KEY, key, now) for key in keys]
    await tx.revocations.add(gone)
    return gone
