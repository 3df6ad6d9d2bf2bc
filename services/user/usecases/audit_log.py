"""Reading and checking the audit log, by admins."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from services.kit.call import Call
from services.kit.errors import DataLoss
from services.kit.paging import Page, PageRequest
from services.user.domain.audit import SYSTEM, Action, Break, Entry, Event, Head, Outcome, Search, Walk
from services.user.usecases.common import Outside, signed_in

_USERS = "users/"


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, where the next page begins, and the users behind the subjects that are still known."""

    page: Page[Entry]
    users: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verification:
    """How many entries were checked, and the first place that does not hold."""

    checked: int
    broken: Break | None


class AuditLog:
    """The audit log of the caller's tenant."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def search(self, call: Call, user: str, resource: str, wanted: Search, page: PageRequest) -> AuditPage:
        """Return a page of entries; `user` is an id and `resource` a name, which are looked up first."""
        caller = signed_in(call)
        await self._note(call, Action.AUDIT_LISTED, {})
        async with self._outside.units.read() as tx:
            wanted = replace(wanted, resource=resource)
            if user:
                wanted = replace(wanted, actor=await tx.subjects.of(caller.tenant, user))
            if resource.startswith(_USERS):
                target = await tx.subjects.of(caller.tenant, resource.removeprefix(_USERS))
                wanted = replace(wanted, resource="", target=target)
            unknown = (user and not wanted.actor) or (resource and not (wanted.resource or wanted.target))
            if unknown:  # erased, of another tenant, or never there: nobody can tell these apart
                return AuditPage(Page([], None), {})
            found = await tx.audit.search(caller.tenant, wanted, page)
            subjects = {subject for entry in found.items for subject in (entry.actor, entry.target)}
            return AuditPage(found, await tx.subjects.users_of(caller.tenant, subjects - {"", SYSTEM}))

    async def verify(self, call: Call, start: datetime | None) -> Verification:
        """Recompute the chain from the first entry at or after `start` (None: from its beginning)."""
        caller = signed_in(call)
        await self._note(call, Action.AUDIT_VERIFIED, {})
        async with self._outside.units.read() as tx:  # one snapshot: entries and head belong together
            first = await tx.audit.first_since(caller.tenant, start) if start is not None else None
            if start is not None and first is None:
                return Verification(0, None)
            before = Head(caller.tenant, first.seq - 1, first.previous) if first else None
            walk = Walk(caller.tenant, before)
            try:
                async for entry in tx.audit.walk(caller.tenant, before.seq if before else None):
                    if (broken := walk.step(entry)) is not None:
                        return Verification(walk.length, broken)
            except DataLoss as error:
                return Verification(walk.length, Break(caller.tenant, walk.next, error.message))
            return Verification(walk.length, walk.finish(await tx.audit.head(caller.tenant)))

    async def _note(self, call: Call, action: Action, details: Mapping[str, str]) -> None:
        caller = call.caller
        async with self._outside.units.write() as tx:
            actor = await tx.subjects.of(caller.tenant, caller.user)
            now = self._outside.clock.now()
            await tx.audit.append(
                Event(caller.tenant, now, action, Outcome.ALLOWED, actor, "", caller.session, details)
            )
