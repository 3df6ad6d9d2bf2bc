"""Accounts: what is unique, who sees whom, how a profile changes, and what erasure leaves."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from services.kit.call import Call, Principal
from services.kit.errors import (
    Aborted,
    AlreadyExists,
    CandelaError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unauthenticated,
)
from services.kit.paging import PageRequest
from services.user.domain.accounts import Registration, Role, User
from services.user.domain.sessions import Ended
from services.user.storage.tables import THROTTLES, metadata
from services.user.usecases.erasures import Erasures
from tests.unit.user.world import PASSWORD, World, change


async def test_a_new_user_is_free_and_unconfirmed(world: World) -> None:
    user = await world.register("Ada@Example.com", username="Ada.L")
    stored = await world.accounts.get(world.call(user), "me")
    assert stored == user
    assert (user.email, user.username) == ("ada@example.com", "Ada.L")
    assert (user.role, user.plan, user.email_verified, user.suspended) == (Role.FREE, "free", False, False)
    assert user.create_time == world.clock.now()
    assert PASSWORD.encode() not in user.password_hash
    assert "password_hash" not in repr(user)


@pytest.mark.parametrize(
    ("field", "second"),
    [
        ("email", {"email": "ADA@example.com"}),
        ("phone", {"phone": "+4915112345678"}),
        ("username", {"email": "other@example.com", "username": "ADA"}),
    ],
)
async def test_a_taken_name_says_which(world: World, field: str, second: dict[str, str]) -> None:
    await world.register("ada@example.com", phone="+4915112345678", username="ada")
    with pytest.raises(AlreadyExists) as refused:
        await world.register(**second)
    assert refused.value.metadata == {"field": field}
    assert "example.com" not in str(refused.value)
    assert refused.value.__cause__ is None  # the driver's text repeats the address


async def test_of_twenty_racing_registrations_one_wins(world: World) -> None:
    results = await asyncio.gather(*(world.register("ada@example.com") for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, User) for result in results) == 1
    assert sum(isinstance(result, AlreadyExists) for result in results) == 19
    assert await world.actions() == ["user.registered"]


async def test_a_long_password_is_refused(small_world: World) -> None:
    await small_world.register(password="é" * 36)
    with pytest.raises(InvalidArgument):
        await small_world.register(password="é" * 36 + "!")


async def test_a_repeated_registration_returns_the_first_user(world: World) -> None:
    call = replace(world.call(request_id="r1", body="ada"), method="/RegisterUser")
    once = await world.answer(call, lambda call: _register(world, call, "ada@example.com"))
    again = await world.answer(call, lambda call: _register(world, call, "ada@example.com"))
    assert once == again
    other = replace(world.call(request_id="r1", body="eve"), method="/RegisterUser")
    with pytest.raises(AlreadyExists) as refused:
        await world.answer(other, lambda call: _register(world, call, "eve@example.com"))
    assert refused.value.reason == "REQUEST_ID_REUSED"


async def test_what_is_kept_of_a_registration_does_not_tell_its_password(small_world: World) -> None:
    call = replace(small_world.call(request_id="r1", body=PASSWORD), method="/RegisterUser")
    await small_world.answer(call, lambda call: _register(small_world, call, "ada@example.com"))
    async with small_world.database.read_session() as session:
        kept = (await session.execute(text("SELECT fingerprint FROM request_claims"))).scalar_one()
    assert kept != call.fingerprint


async def _register(world: World, call: Call, email: str) -> User:
    return await world.accounts.register(call, Registration(email, "", "", "", PASSWORD))


async def test_only_admins_of_the_tenant_see_others(world: World) -> None:
    ada, eve = await world.register(), await world.register()
    assert await world.accounts.get(world.call(ada), ada.id) == ada
    with pytest.raises(NotFound):
        await world.accounts.get(world.call(eve), ada.id)
    admin = world.call(replace(eve, role=Role.ADMIN))
    assert await world.accounts.get(admin, ada.id) == ada
    with pytest.raises(NotFound):
        await world.accounts.get(admin, "nobody")
    foreign = world.call(replace(eve, role=Role.ADMIN, tenant="other"))
    with pytest.raises(NotFound):
        await world.accounts.get(foreign, ada.id)
    denied = [entry for entry in await world.audit() if entry.action == "access.denied"]
    assert len(denied) == 1
    assert ada.id not in denied[0].details


async def test_a_service_without_a_user_is_nobody(small_world: World) -> None:
    call = replace(small_world.call(), principal=Principal("default", service="payment"))
    with pytest.raises(Unauthenticated):
        await small_world.accounts.get(call, "me")


async def test_an_update_changes_what_the_mask_names(world: World) -> None:
    user = await world.register("ada@example.com", username="ada")
    world.clock.advance(5)
    wanted = replace(change("display_name", "email", username="ignored"), paths=("display_name", "email"))
    after = await world.accounts.update(world.call(user), user.id, replace(wanted, email="New@example.com"))
    assert (after.email, after.username, after.display_name) == ("new@example.com", "ada", "")
    assert after.etag != user.etag
    assert after.update_time == world.clock.now() > user.update_time
    assert await world.accounts.get(world.call(user), "me") == after
    [entry] = [entry for entry in await world.audit() if entry.action == "user.updated"]
    assert entry.details == '{"fields":"email,display_name"}'


async def test_nothing_changed_is_no_change(small_world: World) -> None:
    user = await small_world.register("ada@example.com")
    after = await small_world.accounts.update(small_world.call(user), "me", change(email="ADA@example.com"))
    assert after == user
    assert await small_world.actions() == ["user.registered"]


async def test_a_changed_address_is_unconfirmed_again(world: World) -> None:
    user = await world.register("ada@example.com", phone="+4915112345678")
    async with world.units.write() as tx:
        await tx.users.update(replace(user, email_verified=True, phone_verified=True))
    after = await world.accounts.update(world.call(user), "me", change(email="b@example.com"))
    assert (after.email_verified, after.phone_verified) == (False, True)


@pytest.mark.parametrize("paths", [(), ("role",), ("nonsense",), ("*",), ("email", "credits"), ("password_hash",)])
async def test_a_mask_that_names_anything_else_is_refused(small_world: World, paths: tuple[str, ...]) -> None:
    user = await small_world.register()
    with pytest.raises(InvalidArgument) as refused:
        await small_world.accounts.update(small_world.call(user), "me", change(*paths))
    assert [violation.field for violation in refused.value.violations] == ["update_mask"]


async def test_the_last_way_to_log_in_stays(world: World) -> None:
    user = await world.register("ada@example.com", username="ada")
    user = await world.accounts.update(world.call(user), "me", change("email"))
    assert user.email == ""
    with pytest.raises(FailedPrecondition):
        await world.accounts.update(world.call(user), "me", change("username"))
    assert (await world.log_in("ada")).session.user == user.id


async def test_an_old_etag_is_refused(world: World) -> None:
    user = await world.register()
    await world.accounts.update(world.call(user), "me", change(display_name="A", etag=user.etag))
    with pytest.raises(Aborted) as refused:
        await world.accounts.update(world.call(user), "me", change(display_name="B", etag=user.etag))
    assert refused.value.reason == "ETAG_MISMATCH"


async def test_of_twenty_updates_with_one_etag_one_wins(world: World) -> None:
    user = await world.register()
    changes = [change(display_name=f"name {number}", etag=user.etag) for number in range(20)]
    results = await asyncio.gather(
        *(world.accounts.update(world.call(user), "me", wanted) for wanted in changes), return_exceptions=True
    )
    [winner] = [result for result in results if isinstance(result, User)]
    assert sum(isinstance(result, Aborted) for result in results) == 19
    assert await world.accounts.get(world.call(user), "me") == winner


async def test_twenty_updates_of_different_fields_are_all_kept(world: World) -> None:
    user = await world.register("ada@example.com")
    changes = [change(username="ada"), change(phone="+4915112345678")]
    changes += [change(display_name=f"name {number}") for number in range(18)]
    await asyncio.gather(*(world.accounts.update(world.call(user), "me", wanted) for wanted in changes))
    after = await world.accounts.get(world.call(user), "me")
    assert (after.username, after.phone, after.revision) == ("ada", "+4915112345678", 21)


async def test_an_address_cannot_be_taken_over_by_an_update(world: World) -> None:
    ada, eve = await world.register("ada@example.com"), await world.register("eve@example.com")
    with pytest.raises(AlreadyExists) as refused:
        await world.accounts.update(world.call(eve), "me", change(email="ada@example.com"))
    assert refused.value.metadata == {"field": "email"}
    assert (await world.accounts.get(world.call(eve), "me")).email == "eve@example.com"
    with pytest.raises(NotFound):
        await world.accounts.update(world.call(eve), ada.id, change(email="x@example.com"))


async def test_erasure_leaves_nothing_of_the_person(world: World) -> None:
    user = await world.register("ada@example.com", phone="+4915112345678", username="ada_l")
    kept = replace(world.call(user, request_id="r2", body="u"), method="/UpdateUser")
    await world.answer(kept, lambda call: world.accounts.update(call, "me", change(display_name="Ada Lovelace")))
    grant = await world.log_in("ada_l", device="Ada's phone")
    with pytest.raises(CandelaError):
        await world.log_in("ada_l", "wrong")
    call = world.call(user, grant.session.id, request_id="r1")
    for _ in range(2):  # the second one is a replay
        await world.answer(call, lambda call: world.accounts.delete(call, "me"))
    assert [(gone.kind, gone.id) for gone in world.revoker.published] == [(Ended.USER, user.id)]
    async with world.database.read_session() as session:
        assert (await session.execute(THROTTLES.select())).all() == []
    for needle in ("ada@example.com", "4915112345678", "ada_l", "Ada"):
        assert needle not in await _everything(world)
    with pytest.raises(NotFound):
        await world.accounts.get(world.call(user), "me")
    with pytest.raises(Unauthenticated):
        await world.log_in("ada@example.com")
    with pytest.raises(Unauthenticated):
        await world.sign_in.refresh(grant.refresh_token)
    assert (await world.verify())[0].broken is None
    await world.register("ada@example.com", phone="+4915112345678", username="ada_l")


async def test_erasure_cuts_the_link_from_the_audit_log(world: World) -> None:
    user = await world.register()
    subjects = {entry.actor for entry in await world.audit()}
    await world.accounts.delete(world.call(user), "me")
    everything = await _everything(world)
    assert len(subjects) == 1
    assert all(everything.count(subject) == 4 for subject in subjects)  # registered and erased, actor and target
    assert (await world.actions())[-1] == "user.erased"


async def test_other_services_are_told_who_was_erased(world: World) -> None:
    erasures = Erasures(world.outside.units)
    assert (await erasures.after(None, PageRequest())).items == []
    erased = [await world.register(f"{name}@example.org") for name in ("ada", "bea", "cleo")]
    times = []
    for each in erased:
        times.append(world.clock.now())
        await world.accounts.delete(world.call(each), "me")
        world.clock.advance(60)
    newest_first = [erasure.user for erasure in (await erasures.after(None, PageRequest())).items]
    assert newest_first == [each.id for each in reversed(erased)]
    first = await erasures.after(times[0], PageRequest(1))
    assert [erasure.user for erasure in first.items] == [erased[2].id]
    second = await erasures.after(times[0], PageRequest(1, first.next))
    assert [erasure.user for erasure in second.items] == [erased[1].id]
    assert second.next is None


async def test_only_oneself_can_be_erased(world: World) -> None:
    ada, eve = await world.register(), await world.register()
    with pytest.raises(NotFound):
        await world.accounts.delete(world.call(eve), ada.id)
    assert await world.accounts.get(world.call(ada), "me") == ada


async def _everything(world: World) -> str:
    """Return every value of every row but the audit chain's seals and the revocations, which hold opaque ids."""
    rows: list[str] = []
    async with world.database.read_session() as session:
        for table in metadata.sorted_tables:
            rows += [repr(tuple(row)) for row in await session.execute(table.select())]
    return "\n".join(rows)
