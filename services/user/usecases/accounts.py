"""Accounts: register, read, change, erase."""

from collections.abc import Mapping
from datetime import datetime

from services.kit.call import DEFAULT_TENANT, Call, Principal
from services.kit.errors import FailedPrecondition
from services.kit.live_settings import SIGN_UP_OPEN
from services.user.domain import accounts
from services.user.domain.accounts import ProfileChange, Registration, User, no_such_user
from services.user.domain.audit import Action, Event, Outcome
from services.user.domain.erasures import Erasure
from services.user.domain.files import Owner
from services.user.domain.sessions import Ended, Revocation
from services.user.usecases.common import ME, Outside, deny, own_account, raise_replay, signed_in, spread, throttle_key

READ_ANYONE = "read:admin"


class Accounts:
    """Registration and profiles."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def register(self, call: Call, wanted: Registration) -> User:
        """Create an account; AlreadyExists naming the field that is taken, FailedPrecondition while it is closed."""
        accounts.check_password(wanted.password)
        call = self._outside.blinder.blinded(call)
        await raise_replay(self._outside.units, call)
        if self._outside.live is not None and not self._outside.live.get(SIGN_UP_OPEN, DEFAULT_TENANT):
            raise FailedPrecondition("registration is closed", metadata={"setting": SIGN_UP_OPEN.id})
        self._outside.hasher.admit()
        password_hash = await self._outside.hasher.hash(wanted.password)
        now = self._outside.clock.now()
        user = User(
            tenant=DEFAULT_TENANT,
            id=self._outside.ids.new(),
            email=accounts.normal_email(wanted.email),
            phone=wanted.phone,
            username=wanted.username,
            display_name=wanted.display_name,
            create_time=now,
            update_time=now,
            password_hash=password_hash,
        )
        subject = self._outside.ids.new()
        event = Event(user.tenant, now, Action.USER_REGISTERED, Outcome.ALLOWED, actor=subject, target=subject)
        async with self._outside.units.write(call) as tx:
            await tx.users.add(user)
            await tx.subjects.add(user.tenant, user.id, subject)
            await tx.audit.append(event)
            tx.reply(user, owner=user.id)
        return user

    async def get(self, call: Call, user_id: str) -> User:
        """Return the caller, or anyone of the caller's tenant to whom may read them; NotFound otherwise."""
        caller = signed_in(call)
        wanted = caller.user if user_id == ME else user_id
        if wanted != caller.user and READ_ANYONE not in caller.permissions:
            await deny(self._outside, call, "user")
            raise no_such_user()
        async with self._outside.units.read() as tx:
            user = await tx.users.get(caller.tenant, wanted)
        if user is None:
            raise no_such_user()
        return user

    async def update(self, call: Call, user_id: str, change: ProfileChange) -> User:
        """Change the caller's own profile; see domain.accounts.changed for what is refused."""
        accounts.check_paths(change.paths)
        caller = await own_account(self._outside, call, user_id)
        now = self._outside.clock.now()
        async with self._outside.units.write(call) as tx:
            user = await tx.users.get(caller.tenant, caller.user, lock=True)
            if user is None:
                raise no_such_user()
            after, fields = accounts.changed(user, change, now)
            if fields:
                await tx.users.update(after)
                subject = await tx.subjects.of(caller.tenant, caller.user)
                details = {"fields": ",".join(fields)}
                await tx.audit.append(_by_owner(Action.USER_UPDATED, caller, subject, now, details))
            tx.reply(after)
        return after

    async def delete(self, call: Call, user_id: str) -> None:
        """Erase the caller's account and everything that says who it was; its tokens end everywhere."""
        caller = await own_account(self._outside, call, user_id)
        async with self._outside.units.write(call) as tx:
            if await tx.users.get(caller.tenant, caller.user, lock=True) is None:
                raise no_such_user()
            now = self._outside.clock.now()  # under the lock: later than any log-in that got a token before this
            gone = Revocation(caller.tenant, Ended.USER, caller.user, now)
            subject = await tx.subjects.of(caller.tenant, caller.user)
            await tx.sessions.delete_all(caller.tenant, caller.user)
            await tx.throttles.clear(caller.tenant, throttle_key(caller.user, None, ""))
            await tx.subjects.erase(caller.tenant, caller.user)
            await tx.files.erase(Owner(caller.tenant, caller.user), now)
            await tx.users.delete(caller.tenant, caller.user)
            await tx.forget_replies(caller.tenant, caller.user)
            await tx.revocations.add([gone])
            await tx.erasures.add(Erasure(caller.tenant, caller.user, now))
            await tx.audit.append(_by_owner(Action.USER_ERASED, caller, subject, now, {}))
            tx.reply(None)
        await spread(self._outside, [gone])


def _by_owner(action: Action, caller: Principal, subject: str, now: datetime, details: Mapping[str, str]) -> Event:
    return Event(caller.tenant, now, action, Outcome.ALLOWED, subject, subject, caller.session, details)
