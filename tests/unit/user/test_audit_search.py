"""Searching and verifying the audit log over every database."""

import asyncio
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import text

from candela.user.v1 import audit_event_pb2
from services.kit.call import Call, Principal, handling
from services.kit.errors import CandelaError
from services.kit.paging import Cursor, PageRequest
from services.user.api.audit import event_message
from services.user.domain.accounts import Role, User
from services.user.domain.api_keys import NewKey, Scope
from services.user.domain.audit import Action, Entry, Event, Outcome, Search
from services.user.storage.audit_search import search_entries
from services.user.usecases.promotion import make_admin
from tests.unit.user.world import World

ANY = Search()


async def new_admin(world: World) -> User:
    user = await world.register()
    admin, _ = await make_admin(world.outside, user.email)
    return admin


async def found(
    world: World, admin: User, *, user: str = "", resource: str = "", size: int = 50, wanted: Search = ANY
) -> list[Entry]:
    """Return the entries on all pages, but those that the searching itself made."""
    entries: list[Entry] = []
    after: Cursor | None = None
    while True:
        page = await world.log.search(world.call(admin), user, resource, wanted, PageRequest(size, after))
        entries += page.page.items
        if page.page.next is None:
            return [entry for entry in entries if entry.action != "audit.listed"]
        after = page.page.next


def actions(entries: list[Entry]) -> list[str]:
    return [entry.action for entry in entries]


async def test_search_by_who_what_whom_how_and_when(world: World) -> None:
    admin = await new_admin(world)
    begin = world.clock.now()
    world.clock.advance(10)
    ada, eve = await world.register(), await world.register()
    key = await world.keys.create(world.call(ada), NewKey("k", frozenset({Scope.CHAT})))
    world.clock.advance(10)
    middle = world.clock.now()
    await world.administration.suspend(world.call(admin), eve.id, "x")
    await world.keys.end(world.call(ada), key.key.id)
    assert actions(await found(world, admin, user=ada.id)) == ["api_key.ended", "api_key.created", "user.registered"]
    assert actions(await found(world, admin, resource=f"users/{eve.id}")) == ["user.suspended", "user.registered"]
    assert actions(await found(world, admin, resource=f"apiKeys/{key.key.id}")) == ["api_key.ended", "api_key.created"]
    by_action = Search(action="user.registered")
    assert len(await found(world, admin, wanted=by_action)) == 3
    assert actions(await found(world, admin, wanted=Search(start=middle))) == ["api_key.ended", "user.suspended"]
    assert actions(await found(world, admin, wanted=Search(end=begin))) == []
    early = Search(start=begin, end=begin + timedelta(seconds=1))
    assert actions(await found(world, admin, wanted=early)) == ["user.role_set", "user.registered"]
    assert await found(world, admin, wanted=Search(outcome=Outcome.DENIED)) == []
    assert await found(world, admin, user="nobody") == []
    assert await found(world, admin, resource="users/nobody") == []
    both = await found(world, admin, user=ada.id, wanted=Search(start=middle))
    assert actions(both) == ["api_key.ended"]


async def test_an_entry_says_by_which_call_it_was_made(world: World) -> None:
    admin, user = await new_admin(world), await world.register()
    principal = Principal("default", admin.id, "s1", role="ADMIN", permissions=frozenset({"write:admin"}))
    call = Call("/candela.user.v1.UserAdminService/SetUserRole", principal, peer="ipv6:%5B::1%5D:4321")
    with TracerProvider().get_tracer("test").start_as_current_span("call") as span, handling(call):
        await world.administration.set_role(call, user.id, Role.PRO)
    wanted = Search(method="UserAdmin")
    (entry,) = await found(world, admin, wanted=wanted)
    assert entry.method == "candela.user.v1.UserAdminService/SetUserRole"
    assert entry.peer == "::1"
    assert entry.trace_id == f"{span.get_span_context().trace_id:032x}"
    assert await found(world, admin, wanted=Search(method="User%min")) == []
    assert [report.broken for report in await world.verify()] == [None]


async def test_pages_hold_every_entry_once_while_others_are_made(world: World) -> None:
    admin = await new_admin(world)
    for _ in range(7):
        await world.register()
    here = [entry.seq for entry in await world.audit()]
    seen: list[int] = []
    after: Cursor | None = None
    while True:
        page = await world.log.search(world.call(admin), "", "", Search(), PageRequest(2, after))
        seen += [entry.seq for entry in page.page.items]
        if page.page.next is None:
            break
        after = page.page.next
        await world.register()
    assert seen == sorted(set(seen), reverse=True)
    assert set(seen) >= set(here)
    assert len(seen) == len(here) + 1  # and the entry of the first search itself


async def test_a_search_reads_so_many_entries_a_page_and_misses_none(world: World) -> None:
    for number in range(11):
        action = Action.USER_ERASED if number in (0, 5, 6) else Action.USER_UPDATED
        async with world.units.write() as tx:
            await tx.audit.append(Event("default", world.clock.now(), action, Outcome.ALLOWED))
    seen: list[int] = []
    pages = 0
    after: Cursor | None = None
    while True:
        async with world.units.read() as tx:
            session = tx.audit._session  # the use case's own window is too large to fill here
            wanted = Search(action="user.erased")
            page = await search_entries(session, "default", wanted, PageRequest(2, after), window=3)
        seen += [entry.seq for entry in page.items]
        pages += 1
        if page.next is None:
            break
        after = page.next
    assert seen == [7, 6, 1]
    assert pages >= 4


async def test_users_are_named_while_they_are_there(world: World) -> None:
    admin, user = await new_admin(world), await world.register()
    await world.administration.set_role(world.call(admin), user.id, Role.PRO)
    page = await world.log.search(world.call(admin), "", "", Search(), PageRequest())
    first = event_message(page.page.items[1], page.users)
    assert (first.user, first.resource) == (f"users/{admin.id}", f"users/{user.id}")
    assert list(first.changes) == ["role: FREE → PRO"]
    await world.accounts.delete(world.call(user), "me")
    page = await world.log.search(world.call(admin), "", "", Search(), PageRequest())
    messages = [event_message(entry, page.users) for entry in page.page.items]
    assert user.id not in str(messages)
    changed = next(message for message in messages if message.action == "user.role_set" and message.user)
    assert (changed.user, changed.resource) == (f"users/{admin.id}", "")
    assert await found(world, admin, resource=f"users/{user.id}") == []


async def test_messages_say_what_callers_were_told(small_world: World) -> None:
    world = small_world
    admin, user = await new_admin(world), await world.register()
    await world.administration.suspend(world.call(admin), user.id, "spam & more")
    for password in ("wrong horse battery", "correct horse battery staple"):
        with pytest.raises(CandelaError, match=r"wrong|suspended"):
            await world.log_in(user.email, password)
    page = await world.log.search(world.call(admin), "", "", Search(), PageRequest())
    messages = [event_message(entry, page.users) for entry in page.page.items]
    reasons = {message.reason for message in messages if message.action == "login.failed"}
    assert reasons == {"CREDENTIALS_INVALID", "USER_SUSPENDED"}
    suspended = next(message for message in messages if message.action == "user.suspended")
    assert suspended.outcome == audit_event_pb2.AuditEvent.OUTCOME_ALLOWED
    assert (suspended.details["comment"], suspended.reason) == ("spam & more", "")
    assert len(suspended.hash) == 64
    assert next(message for message in messages if message.action == "user.role_set").subject == "system"


async def test_verifying_counts_and_finds_the_first_break(world: World) -> None:
    admin = await new_admin(world)
    for _ in range(3):
        world.clock.advance(10)
        await world.register()
    whole = await world.log.verify(world.call(admin), None)
    assert (whole.checked, whole.broken) == (6, None)  # two of the admin, three users, and this call
    part = await world.log.verify(world.call(admin), world.clock.now())
    assert (part.checked, part.broken) == (3, None)
    after = await world.log.verify(world.call(admin), world.clock.now() + timedelta(days=1))
    assert (after.checked, after.broken) == (0, None)
    async with world.database.write_session() as session:
        await session.execute(text("UPDATE audit_entries SET resource = 'x' WHERE seq = 4"))
        await session.commit()
    broken = await world.log.verify(world.call(admin), None)
    assert broken.broken is not None
    assert (broken.checked, broken.broken.seq) == (3, 4)
    later = await world.log.verify(world.call(admin), world.clock.now())
    assert later.broken is None  # what is before was not asked for


async def test_another_tenants_log_is_not_there(world: World) -> None:
    admin = await new_admin(world)
    async with world.units.write() as tx:
        await tx.audit.append(Event("acme", world.clock.now(), Action.USER_ERASED, Outcome.ALLOWED))
    assert {entry.tenant for entry in await found(world, admin)} == {"default"}
    assert await found(world, admin, wanted=Search(action="user.erased")) == []


async def test_many_who_write_and_search_at_once_keep_one_chain(world: World) -> None:
    admin = await new_admin(world)
    await asyncio.gather(
        *(world.register() for _ in range(5)),
        *(world.log.search(world.call(admin), "", "", Search(), PageRequest(2)) for _ in range(5)),
    )
    assert [report.broken for report in await world.verify()] == [None]
