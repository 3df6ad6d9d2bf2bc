"""Admins over every database: nobody is lost from a list, and the last admin is never lost to a race."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from services.kit.errors import (
    CandelaError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from services.kit.key_text import digest_of
from services.kit.paging import Cursor, PageRequest
from services.user.domain.accounts import Role, State, User, UserSearch
from services.user.domain.api_keys import NewKey, Scope
from services.user.domain.audit import SYSTEM
from services.user.domain.sessions import Ended
from services.user.storage.user_search import search_users
from services.user.usecases.promotion import make_admin
from tests.unit.user.world import World


async def new_admin(world: World) -> User:
    user = await world.register()
    admin, _ = await make_admin(world.outside, user.email)
    return admin


async def found(world: World, admin: User, size: int = 50, **filters: object) -> list[str]:
    """Return the e-mail addresses on all pages of a search."""
    emails: list[str] = []
    after: Cursor | None = None
    while True:
        wanted = UserSearch(**filters)  # type: ignore[arg-type]  # each test names the fields it means
        page = await world.administration.list(world.call(admin), wanted, PageRequest(size, after))
        emails += [user.email for user in page.items]
        if page.next is None:
            return emails
        after = page.next


async def named(world: World, email: str, username: str, display_name: str) -> User:
    user = await world.register(email, username=username)
    async with world.units.write() as tx:
        changed = replace(user, display_name=display_name)
        await tx.users.update(changed)
    return changed


async def test_the_first_admin_is_made_on_the_machine(world: World) -> None:
    user, grant = await world.signed_in()
    admin, before = await make_admin(world.outside, f" {user.email.upper()} ")
    assert (admin.role, before) == (Role.ADMIN, Role.FREE)
    assert [(r.kind, r.id) for r in world.revoker.published] == [(Ended.USER, user.id)]
    entry = (await world.audit())[-1]
    assert (entry.action, entry.actor) == ("user.role_set", SYSTEM)
    again, before = await make_admin(world.outside, user.email)
    assert (again, before) == (admin, Role.ADMIN)
    assert (await world.actions()).count("user.role_set") == 1
    renewed = await world.sign_in.refresh(grant.refresh_token)
    assert renewed.access.text.endswith(":ADMIN")


async def test_whom_nobody_knows_cannot_be_made_an_admin(small_world: World) -> None:
    with pytest.raises(NotFound, match="register first"):
        await make_admin(small_world.outside, "nobody@example.com")
    with pytest.raises(InvalidArgument):
        await make_admin(small_world.outside, "not an identifier")
    admin, user = await new_admin(small_world), await small_world.register()
    await small_world.administration.suspend(small_world.call(admin), user.id, "x")
    with pytest.raises(FailedPrecondition, match="suspended"):
        await make_admin(small_world.outside, user.email)


async def test_search_is_by_any_part_in_any_case(world: World) -> None:
    admin = await new_admin(world)
    await named(world, "grace@example.com", "Hopper", "Grace Ångström")
    await named(world, "ada_l@example.com", "lovelace", "Ada 100% Lovelace")
    await named(world, "adaxl@example.com", "other", "Straße")
    assert await found(world, admin, query="GRACE@") == ["grace@example.com"]
    assert await found(world, admin, query="hopp") == ["grace@example.com"]
    assert await found(world, admin, query="ångSTRÖM") == ["grace@example.com"]
    assert await found(world, admin, query="STRASSE") == ["adaxl@example.com"]
    assert await found(world, admin, query="ada_l") == ["ada_l@example.com"]  # no wildcard
    assert await found(world, admin, query="0%") == ["ada_l@example.com"]
    assert await found(world, admin, query="\\") == []
    assert await found(world, admin, query="/") == []
    assert await found(world, admin, query="nobody") == []


async def test_filters_go_together(world: World) -> None:
    admin, pro, shut = await new_admin(world), await world.register(), await world.register()
    await world.administration.set_role(world.call(admin), pro.id, Role.PRO)
    await world.administration.suspend(world.call(admin), shut.id, "x")
    assert await found(world, admin, role=Role.PRO) == [pro.email]
    assert await found(world, admin, state=State.SUSPENDED) == [shut.email]
    assert await found(world, admin, state=State.SUSPENDED, role=Role.PRO) == []
    assert len(await found(world, admin, plan="free")) == 3
    assert await found(world, admin, plan="gold") == []


async def test_pages_hold_everybody_once_while_others_register(world: World) -> None:
    admin = await new_admin(world)
    here = [admin.email]
    for _ in range(10):
        world.clock.advance(timedelta(seconds=0 if len(here) % 3 else 1))  # some of one moment
        here.append((await world.register()).email)
    seen: list[str] = []
    after: Cursor | None = None
    while True:
        page = await world.administration.list(world.call(admin), UserSearch(), PageRequest(3, after))
        seen += [user.email for user in page.items]
        if page.next is None:
            break
        after = page.next
        world.clock.advance(1)
        await world.register()
    assert sorted(seen) == sorted(here)


async def test_a_search_reads_so_many_accounts_a_page_and_misses_nobody(world: World) -> None:
    for number in range(11):
        world.clock.advance(number % 2)
        await named(world, f"u{number}@example.com", f"user{number}", "needle" if number in (0, 5, 6) else "hay")
    seen: list[str] = []
    pages = 0
    after: Cursor | None = None
    while True:
        async with world.units.read() as tx:
            session = tx.users._session  # the use case's own window is too large to fill here
            page = await search_users(session, "default", UserSearch(query="needle"), PageRequest(2, after), window=3)
        seen += [user.email for user in page.items]
        pages += 1
        if page.next is None:
            break
        after = page.next
    assert sorted(seen) == ["u0@example.com", "u5@example.com", "u6@example.com"]
    assert pages >= 4


async def test_a_suspended_account_is_shut_everywhere(world: World) -> None:
    admin = await new_admin(world)
    user, grant = await world.signed_in()
    key = await world.keys.create(world.call(user), NewKey("k", frozenset({Scope.CHAT})))
    call = world.call(admin)
    after = await world.administration.suspend(call, user.id, "spam")
    assert after.state is State.SUSPENDED
    ends = {(r.kind, r.id) for r in world.revoker.published}
    assert ends >= {(Ended.USER, user.id), (Ended.API_KEY, key.key.id)}
    assert await world.checks.look_up(digest_of(key.secret)) is None
    with pytest.raises(PermissionDenied) as refused:
        await world.log_in(user.email)
    assert refused.value.reason == "USER_SUSPENDED"
    with pytest.raises(Unauthenticated):
        await world.sign_in.refresh(grant.refresh_token)
    again = await world.administration.suspend(call, user.id, "still")
    assert again == after
    opened = await world.administration.reinstate(call, user.id, "sorry")
    assert opened.state is State.ACTIVE
    assert await world.checks.look_up(digest_of(key.secret)) is None  # what was ended stays ended
    with pytest.raises(Unauthenticated):
        await world.sign_in.refresh(grant.refresh_token)
    await world.log_in(user.email)


async def test_what_an_admin_does_is_in_the_audit_log_with_why(world: World) -> None:
    admin, user = await new_admin(world), await world.register()
    call = world.call(admin, "s1")
    await world.administration.suspend(call, user.id, "spam")
    await world.administration.set_role(call, user.id, Role.PRO)
    await world.administration.list(call, UserSearch(query="secret@example.com"), PageRequest())
    suspended, role, listed = (await world.audit())[-3:]
    async with world.units.read() as tx:
        subjects = (await tx.subjects.of("default", admin.id), await tx.subjects.of("default", user.id))
    assert (suspended.actor, suspended.target) == subjects
    assert suspended.session == "s1"
    assert suspended.details == '{"changes":"state: ACTIVE \\u2192 SUSPENDED","comment":"spam"}'
    assert role.details == '{"changes":"role: FREE \\u2192 PRO"}'
    assert listed.details == '{"filters":"query"}'  # what was looked for may be somebody's address
    assert [report.broken for report in await world.verify()] == [None]


async def test_what_cannot_be_done(world: World) -> None:
    admin, user = await new_admin(world), await world.register()
    call = world.call(admin)
    with pytest.raises(FailedPrecondition):
        await world.administration.suspend(call, admin.id, "me")
    with pytest.raises(FailedPrecondition, match="last admin"):
        await world.administration.set_role(call, admin.id, Role.FREE)
    for work in (
        world.administration.suspend(call, "nobody", "x"),
        world.administration.reinstate(call, "nobody", "x"),
        world.administration.set_role(call, "nobody", Role.PRO),
    ):
        with pytest.raises(NotFound):
            await work
    with pytest.raises(PermissionDenied):  # a token from before the demotion, a moment too late
        await world.administration.suspend(world.call(replace(user, role=Role.ADMIN)), admin.id, "x")


async def test_what_failed_is_in_the_audit_log_too(world: World) -> None:
    admin, eve = await new_admin(world), await world.register()
    call = world.call(admin)
    for work in (
        world.administration.suspend(call, admin.id, "me"),
        world.administration.set_role(call, admin.id, Role.FREE),
        world.administration.reinstate(call, "nobody", "x"),
        world.administration.suspend(world.call(replace(eve, role=Role.ADMIN)), admin.id, "x"),
    ):
        with pytest.raises(CandelaError):
            await work
    entries = (await world.audit())[-4:]
    assert [(entry.action, entry.outcome, entry.details) for entry in entries] == [
        ("user.suspended", "failed", '{"reason":"FAILED_PRECONDITION"}'),
        ("user.role_set", "failed", '{"reason":"FAILED_PRECONDITION"}'),
        ("user.reinstated", "failed", '{"reason":"NOT_FOUND"}'),
        ("user.suspended", "denied", '{"reason":"PERMISSION_DENIED"}'),
    ]
    assert entries[1].actor == entries[1].target != ""
    assert entries[2].target == ""


async def test_of_two_admins_who_demote_each_other_one_stays(world: World) -> None:
    for _ in range(3):
        one, other = await new_admin(world), await new_admin(world)
        results = await asyncio.gather(
            world.administration.set_role(world.call(one), other.id, Role.FREE),
            world.administration.set_role(world.call(other), one.id, Role.FREE),
            return_exceptions=True,
        )
        assert sum(isinstance(result, User) for result in results) == 1
        assert sum(isinstance(result, PermissionDenied) for result in results) == 1
        async with world.units.write() as tx:
            (left,) = await tx.users.lock_admins("default")
        await make_way(world, left)


async def make_way(world: World, admin: str) -> None:
    """Let the next round begin without admins, as only the database itself can."""
    async with world.units.write() as tx:
        user = await tx.users.get("default", admin, lock=True)
        assert user is not None
        await tx.users.update(replace(user, role=Role.FREE))


async def test_of_two_admins_who_resign_at_once_one_stays(world: World) -> None:
    one, other = await new_admin(world), await new_admin(world)
    results = await asyncio.gather(
        *(world.administration.set_role(world.call(admin), admin.id, Role.FREE) for admin in (one, other)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, User) for result in results) == 1
    assert sum(isinstance(result, FailedPrecondition) for result in results) == 1


async def test_of_two_admins_who_suspend_each_other_one_stays(world: World) -> None:
    one, other = await new_admin(world), await new_admin(world)
    results = await asyncio.gather(
        world.administration.suspend(world.call(one), other.id, "x"),
        world.administration.suspend(world.call(other), one.id, "x"),
        return_exceptions=True,
    )
    assert sum(isinstance(result, User) for result in results) == 1
    async with world.units.write() as tx:
        assert len(await tx.users.lock_admins("default")) == 1


async def test_a_refresh_waits_for_a_change_of_role_and_has_the_new_one(world: World) -> None:
    user, grant = await world.signed_in()
    async with world.units.write() as tx:
        locked = await tx.users.get("default", user.id, lock=True)
        assert locked is not None
        refreshing = asyncio.create_task(world.sign_in.refresh(grant.refresh_token))
        done, _ = await asyncio.wait([refreshing], timeout=0.2)
        assert not done  # it would have read the role that is about to be gone
        await tx.users.update(replace(locked, role=Role.PRO))
    assert (await refreshing).access.text.endswith(":PRO")


async def test_another_tenants_accounts_are_not_there(world: World) -> None:
    admin, other = await new_admin(world), await world.register()
    async with world.units.write() as tx:
        await tx.users.delete("default", other.id)
        await tx.users.add(replace(other, tenant="acme"))
    assert await found(world, admin) == [admin.email]
    assert await found(world, admin, query=other.email) == []
    with pytest.raises(NotFound):
        await world.administration.set_role(world.call(admin), other.id, Role.PRO)
