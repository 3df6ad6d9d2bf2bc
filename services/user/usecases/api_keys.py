"""API keys by their owners: make, see, change, end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.kit.call import Call, Principal
from services.kit.paging import Page, PageRequest
from services.user.domain import api_keys
from services.user.domain.accounts import no_such_user
from services.user.domain.api_keys import ApiKey, KeyChange, KeyEnd, NewKey, no_such_key
from services.user.domain.audit import Action, Event, Outcome
from services.user.domain.sessions import Ended, Revocation
from services.user.ports import UserTx
from services.user.usecases.common import Outside, deny, signed_in, spread


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """A new key with its secret, which is shown this once and never shows in a repr."""

    key: ApiKey
    secret: str = field(repr=False)


class OwnKeys:
    """The life of a user's keys."""

    def __init__(self, outside: Outside, most: int) -> None:
        """Let a user have `most` keys at a time."""
        self._outside = outside
        self._most = most

    async def create(self, call: Call, wanted: NewKey) -> KeyGrant:
        """Make a key; InvalidArgument for one that would be over, FailedPrecondition when there are too many."""
        caller = signed_in(call)
        secret = self._outside.key_secrets.new()
        async with self._outside.units.write(call) as tx:
            if await tx.users.get(caller.tenant, caller.user, lock=True) is None:  # and nobody else counts meanwhile
                raise no_such_user()
            now = self._outside.clock.now()
            api_keys.check_new(wanted, now)
            api_keys.check_count(await tx.api_keys.count_living(caller.tenant, caller.user), self._most)
            key = ApiKey(
                tenant=caller.tenant,
                id=self._outside.ids.new(),
                user=caller.user,
                prefix=secret.prefix,
                display_name=wanted.display_name,
                scopes=wanted.scopes,
                create_time=now,
                budget_micro_credits=wanted.budget_micro_credits,
                requests_per_minute=wanted.requests_per_minute,
                expire_time=wanted.expire_time,
            )
            await tx.api_keys.add(key, secret.digest)
            details = {"scopes": ",".join(sorted(key.scopes))}
            await _note(tx, Action.API_KEY_CREATED, caller, key, now, details)
            grant = KeyGrant(key, secret.text)
            tx.reply(grant, secret=True)
        return grant

    async def list(self, call: Call, page: PageRequest) -> Page[ApiKey]:
        """Return a page of the caller's keys, the newest first."""
        caller = signed_in(call)
        async with self._outside.units.read() as tx:
            return await tx.api_keys.living(caller.tenant, caller.user, page)

    async def get(self, call: Call, key_id: str) -> ApiKey:
        """Return one of the caller's keys; NotFound otherwise."""
        key = await self._check_owner(call, key_id)
        if key.ended:
            raise no_such_key()
        return key

    async def update(self, call: Call, key_id: str, change: KeyChange) -> ApiKey:
        """Change one of the caller's keys; see domain.api_keys.changed for what is refused."""
        api_keys.check_paths(change.paths)
        caller = signed_in(call)
        await self._check_owner(call, key_id)
        now = self._outside.clock.now()
        async with self._outside.units.write(call) as tx:
            key = await _locked(tx, caller, key_id)
            after, words = api_keys.changed(key, change)
            if words:
                await tx.api_keys.update(after)
                await _note(tx, Action.API_KEY_UPDATED, caller, after, now, {"changes": "\n".join(words)})
            tx.reply(after)
        return after

    async def end(self, call: Call, key_id: str) -> None:
        """End one of the caller's keys for good; NotFound otherwise."""
        caller = signed_in(call)
        await self._check_owner(call, key_id)
        now = self._outside.clock.now()
        async with self._outside.units.write(call) as tx:
            key = await _locked(tx, caller, key_id)
            await tx.api_keys.update(key.end(KeyEnd.DELETED, now))
            gone = Revocation(caller.tenant, Ended.API_KEY, key.id, now)
            await tx.revocations.add([gone])
            await _note(tx, Action.API_KEY_ENDED, caller, key, now, {})
            tx.reply(None)
        await spread(self._outside, [gone])

    async def _check_owner(self, call: Call, key_id: str) -> ApiKey:
        """Return the key when it is the caller's, ended or not; NotFound with an entry in the audit log otherwise."""
        caller = signed_in(call)
        async with self._outside.units.read() as tx:
            key = await tx.api_keys.get(caller.tenant, key_id)
        if key is None or key.user != caller.user:  # written for both alike: the time must not tell them apart
            await deny(self._outside, call, "apiKey")
            raise no_such_key()
        return key


async def _locked(tx: UserTx, caller: Principal, key_id: str) -> ApiKey:
    key = await tx.api_keys.get(caller.tenant, key_id, lock=True)
    if key is None or key.ended or key.user != caller.user:
        raise no_such_key()
    return key


async def _note(
    tx: UserTx, action: Action, caller: Principal, key: ApiKey, now: datetime, details: Mapping[str, str]
) -> None:
    subject = await tx.subjects.of(caller.tenant, caller.user)
    resource = f"apiKeys/{key.id}"
    allowed = Outcome.ALLOWED
    await tx.audit.append(
        Event(caller.tenant, now, action, allowed, subject, subject, caller.session, details, resource)
    )
