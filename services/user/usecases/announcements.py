"""What admins tell everybody."""

from services.kit.call import DEFAULT_TENANT, Call
from services.kit.paging import Page, PageRequest
from services.user.domain import announcements
from services.user.domain.announcements import (
    Announcement,
    AnnouncementChange,
    AnnouncementDraft,
    no_such_announcement,
)
from services.user.domain.audit import Action, Event, Outcome
from services.user.ports import UserTx
from services.user.usecases.common import Outside, signed_in


class Announcing:
    """Announcements: shown to everybody, made by admins. Nothing is cached: a change is seen by the next reader."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def shown(self, call: Call, page: PageRequest) -> Page[Announcement]:
        """Return a page of what is shown now, the most severe first, then the newest."""
        async with self._outside.units.read() as tx:
            return await tx.announcements.shown(tenant_of(call), self._outside.clock.now(), page)

    async def all(self, call: Call, page: PageRequest) -> Page[Announcement]:
        """Return a page of all of the tenant's announcements, the newest first."""
        async with self._outside.units.read() as tx:
            return await tx.announcements.all(call.caller.tenant, page)

    async def create(self, call: Call, draft: AnnouncementDraft) -> Announcement:
        """Make an announcement; InvalidArgument for one that would end before it begins."""
        caller = signed_in(call)
        announcements.check_span(draft.start_time, draft.end_time, "end_time")
        now = self._outside.clock.now()
        made = Announcement(
            tenant=caller.tenant,
            id=self._outside.ids.new(),
            title=draft.title,
            body=draft.body,
            severity=draft.severity,
            create_time=now,
            update_time=now,
            start_time=draft.start_time,
            end_time=draft.end_time,
        )
        async with self._outside.units.write(call) as tx:
            await tx.announcements.add(made)
            await self._note(tx, call, Action.ANNOUNCEMENT_CREATED, made)
            tx.reply(made)
        return made

    async def update(self, call: Call, announcement: str, change: AnnouncementChange) -> Announcement:
        """Change an announcement; see domain.announcements.changed for what is refused."""
        announcements.check_paths(change.paths)
        caller = signed_in(call)
        async with self._outside.units.write(call) as tx:
            before = await tx.announcements.get(caller.tenant, announcement, lock=True)
            if before is None:
                raise no_such_announcement()
            after, differing = announcements.changed(before, change, self._outside.clock.now())
            if differing:
                await tx.announcements.update(after)
                await self._note(tx, call, Action.ANNOUNCEMENT_UPDATED, after, differing)
            tx.reply(after)
        return after

    async def delete(self, call: Call, announcement: str) -> None:
        """Delete an announcement; NotFound when there is none of that id."""
        caller = signed_in(call)
        async with self._outside.units.write(call) as tx:
            gone = await tx.announcements.get(caller.tenant, announcement, lock=True)
            if gone is None:
                raise no_such_announcement()
            await tx.announcements.delete(caller.tenant, announcement)
            await self._note(tx, call, Action.ANNOUNCEMENT_DELETED, gone)
            tx.reply(None)

    async def _note(
        self, tx: UserTx, call: Call, action: Action, about: Announcement, differing: tuple[str, ...] = ()
    ) -> None:
        caller = call.caller
        details = {"version": str(about.version)} | ({"changes": ",".join(differing)} if differing else {})
        await tx.audit.append(
            Event(
                tenant=caller.tenant,
                time=self._outside.clock.now(),
                action=action,
                outcome=Outcome.ALLOWED,
                actor=await tx.subjects.of(caller.tenant, caller.user),
                session=caller.session,
                details=details,
                resource=f"announcements/{about.id}",
            )
        )


def tenant_of(call: Call) -> str:
    """Return whose announcements a call is about; nobody in particular belongs to the default tenant."""
    return call.principal.tenant if call.principal else DEFAULT_TENANT
