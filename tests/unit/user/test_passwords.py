"""Changing a password: who may, what it ends, and that guesses at it are bounded like log-ins."""

import asyncio

import pytest

from services.kit.call import Call
from services.kit.errors import CandelaError, InvalidArgument, NotFound
from services.user.domain.accounts import User
from tests.unit.user.world import PASSWORD, World

NEW = "a new and better password"


async def test_a_new_password_replaces_the_old_one(world: World) -> None:
    user, _ = await world.signed_in()
    await world.passwords.change(world.call(user), user.id, PASSWORD, NEW)
    assert await _failure(world.log_in(user.email, PASSWORD)) == "CREDENTIALS_INVALID"
    await world.log_in(user.email, NEW)
    after = await world.accounts.get(world.call(user), "me")
    assert after.etag != user.etag


async def test_it_ends_all_sessions_but_the_callers(world: World) -> None:
    user, mine = await world.signed_in()
    others = [(await world.log_in(user.email)).session.id for _ in range(3)]
    _, stranger = await world.signed_in()
    await world.passwords.change(world.call(user, mine.session.id), "me", PASSWORD, NEW)
    assert [session.id for session in await world.sessions(user)] == [mine.session.id]
    assert world.revoker.ids == set(others)
    await world.sign_in.refresh(mine.refresh_token)
    await world.sign_in.refresh(stranger.refresh_token)
    changed = (await world.audit())[-1]
    assert (changed.action, changed.details) == ("password.changed", '{"sessions_ended":"3"}')


async def test_a_call_without_a_session_ends_them_all(world: World) -> None:
    user, _ = await world.signed_in()
    await world.passwords.change(world.call(user), "me", PASSWORD, NEW)
    assert await world.sessions(user) == []


async def test_guesses_at_the_current_password_are_bounded_with_log_ins(world: World) -> None:
    user, grant = await world.signed_in()
    call = world.call(user, grant.session.id)
    for _ in range(3):
        assert await _failure(world.passwords.change(call, "me", "wrong", NEW)) == "CREDENTIALS_INVALID"
    for _ in range(2):
        assert await _failure(world.log_in(user.email, "wrong")) == "CREDENTIALS_INVALID"
    assert await _failure(world.passwords.change(call, "me", PASSWORD, NEW)) == "LOGIN_THROTTLED"
    assert await _failure(world.log_in(user.email)) == "LOGIN_THROTTLED"
    world.clock.advance(30)
    await world.passwords.change(call, "me", PASSWORD, NEW)
    await world.log_in(user.email, NEW)
    assert (await world.actions()).count("password.wrong") == 3


async def test_a_replay_is_answered_although_the_password_is_another_by_now(world: World) -> None:
    user, mine = await world.signed_in()
    call = world.call(user, mine.session.id, request_id="r1", body="change")

    async def change(call: Call) -> None:
        await world.passwords.change(call, "me", PASSWORD, NEW)

    for _ in range(2):
        await world.answer(call, change)
    assert (await world.actions()).count("password.changed") == 1
    reused = world.call(user, mine.session.id, request_id="r1", body="another change")
    assert await _failure(world.answer(reused, change)) == "REQUEST_ID_REUSED"


async def test_of_two_changes_at_once_one_wins(world: World) -> None:
    user = await world.register()
    wanted = [f"{NEW} {number}" for number in range(2)]
    results = await asyncio.gather(
        *(world.passwords.change(world.call(user), "me", PASSWORD, new) for new in wanted), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) in (
        ["Aborted", "NoneType"],
        ["NoneType", "Unauthenticated"],
    )
    await world.log_in(user.email, wanted[results.index(None)])


async def test_only_ones_own_password_can_be_changed(world: World) -> None:
    ada, eve = await world.register(), await world.register()
    with pytest.raises(NotFound):
        await world.passwords.change(world.call(eve), ada.id, PASSWORD, NEW)
    await world.log_in(ada.email)


async def test_a_password_that_bcrypt_would_cut_is_refused(small_world: World) -> None:
    user: User = await small_world.register()
    with pytest.raises(InvalidArgument) as refused:
        await small_world.passwords.change(small_world.call(user), "me", PASSWORD, "x" * 73)
    assert refused.value.violations[0].field == "new_password"


async def _failure(work: object) -> str:
    assert asyncio.iscoroutine(work)
    with pytest.raises(CandelaError) as refused:
        await work
    return refused.value.reason
