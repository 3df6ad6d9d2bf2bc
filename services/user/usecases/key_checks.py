"""What API keys stand for, told to every service, and what services tell of them."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from services.kit.call import Call
from services.kit.clock import Clock
from services.user.domain.api_keys import ApiKey, KeyRefusal, KeyUse
from services.user.domain.audit import Action, Event, Outcome
from services.user.ports import UserTx
from services.user.usecases.common import Outside

_NOTED_EVERY = timedelta(minutes=10)
_NOTED_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class Standing:
    """A key that may be used until it expires, and the role of its user."""

    key: ApiKey
    role: str


class KeyChecks:
    """Looks keys up by their digests and takes reports in."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._noted = _Noted(outside.clock)

    async def look_up(self, digest: bytes) -> Standing | None:
        """Return what a key stands for; None for one that is unknown or ended, or whose user is suspended.

        The use of a key that was ended goes to the audit log, one entry in a while however often it is tried.
        """
        async with self._outside.units.read() as tx:
            key = await tx.api_keys.found(digest)
            user = await tx.users.get(key.tenant, key.user) if key else None
        if key is None or user is None:
            return None
        if key.ended or user.suspended:
            if self._noted.first(key.id):
                await self._note_ended(key)
            return None
        return Standing(key, user.role.value)

    async def take_in(self, call: Call, uses: Sequence[KeyUse], refusals: Sequence[KeyRefusal]) -> None:
        """Remember uses, and write refusals into the audit log of the keys' tenants."""
        async with self._outside.units.write(call) as tx:
            await self._take_in(tx, uses, refusals)
            tx.reply(None)

    async def take_in_own(self, uses: Sequence[KeyUse], refusals: Sequence[KeyRefusal]) -> None:
        """Like `take_in`, for the keys that this very process saw."""
        async with self._outside.units.write() as tx:
            await self._take_in(tx, uses, refusals)

    async def _take_in(self, tx: UserTx, uses: Sequence[KeyUse], refusals: Sequence[KeyRefusal]) -> None:
        await tx.api_keys.used(uses)
        for refusal in sorted(refusals, key=lambda one: one.tenant):  # chains are locked in one order
            key = await tx.api_keys.get(refusal.tenant, refusal.key)
            if key is not None:
                details = {"reason": refusal.reason, "count": str(refusal.count)}
                if refusal.method:
                    details["method"] = refusal.method
                await tx.audit.append(await self._refused(tx, key, details))

    async def _note_ended(self, key: ApiKey) -> None:
        reason = key.revoke_reason.value if key.revoke_reason else "user_suspended"
        async with self._outside.units.write() as tx:
            await tx.audit.append(await self._refused(tx, key, {"reason": "TOKEN_INVALID", "ended": reason}))

    async def _refused(self, tx: UserTx, key: ApiKey, details: dict[str, str]) -> Event:
        owner = await tx.subjects.of(key.tenant, key.user)
        now, resource = self._outside.clock.now(), f"apiKeys/{key.id}"
        action = Action.API_KEY_REFUSED
        return Event(key.tenant, now, action, Outcome.DENIED, "", owner, "", details, resource)


class _Noted:
    """Which ended keys were noted lately, a bounded number of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def first(self, key: str) -> bool:
        """Say whether this is the first time in a while, and remember that it was."""
        now = self._clock.monotonic()
        if self._until.get(key, 0.0) > now:
            return False
        self._until[key] = now + _NOTED_EVERY.total_seconds()
        self._until.move_to_end(key)
        if len(self._until) > _NOTED_KEYS:
            self._until.popitem(last=False)
        return True
