"""Sessions: refresh, reuse, grace, lists and ends."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from services.kit.errors import CandelaError, NotFound
from services.kit.paging import PageRequest
from services.user.domain.accounts import Role, State
from services.user.domain.sessions import Ended, SessionRules
from services.user.storage.tables import metadata
from services.user.usecases.sessions import Grant
from tests.unit.user.world import World, new_world


async def test_a_refresh_gives_new_tokens_and_a_later_end(world: World) -> None:
    user, first = await world.signed_in()
    world.clock.advance(timedelta(days=3))
    second = await world.sign_in.refresh(first.refresh_token)
    assert second.session.id == first.session.id
    assert second.refresh_token != first.refresh_token
    assert second.refresh_expire_time == world.clock.now() + timedelta(days=30)
    [session] = await world.sessions(user)
    assert (session.create_time, session.last_refresh_time) == (first.session.create_time, world.clock.now())


async def test_a_refresh_token_that_is_used_again_ends_the_session(world: World) -> None:
    user, first = await world.signed_in()
    second = await world.sign_in.refresh(first.refresh_token)
    world.clock.advance(11)
    assert await _refused(world, first) == "REFRESH_TOKEN_REUSED"
    assert await _refused(world, first) == "SESSION_REVOKED"
    assert await _refused(world, second) == "SESSION_REVOKED"
    assert await world.sessions(user) == []
    assert [(gone.kind, gone.id) for gone in world.revoker.published] == [(Ended.SESSION, first.session.id)]
    assert (await world.actions())[-1] == "refresh.reused"


async def test_reuse_ends_no_other_session(world: World) -> None:
    user, first = await world.signed_in()
    other = await world.log_in(user.email)
    await world.sign_in.refresh(first.refresh_token)
    world.clock.advance(11)
    await _refused(world, first)
    assert [session.id for session in await world.sessions(user)] == [other.session.id]
    await world.sign_in.refresh(other.refresh_token)


async def test_a_lost_answer_is_given_again_within_the_grace(world: World) -> None:
    _, first = await world.signed_in()
    lost = await world.sign_in.refresh(first.refresh_token)
    world.clock.advance(10)
    second = await world.sign_in.refresh(first.refresh_token)
    assert second.refresh_token != lost.refresh_token
    third = await world.sign_in.refresh(second.refresh_token)
    world.clock.advance(timedelta(minutes=15))
    await world.sign_in.refresh(third.refresh_token)


async def test_of_two_tabs_racing_either_can_go_on(world: World) -> None:
    _, first = await world.signed_in()
    tabs = await asyncio.gather(*(world.sign_in.refresh(first.refresh_token) for _ in range(2)))
    world.clock.advance(timedelta(minutes=15))
    await world.sign_in.refresh(tabs[1].refresh_token)


async def test_a_thief_who_uses_the_grace_is_found_out(world: World) -> None:
    user, first = await world.signed_in()
    owner = await world.sign_in.refresh(first.refresh_token)
    thief = await world.sign_in.refresh(first.refresh_token)  # stolen and used within the grace
    world.clock.advance(timedelta(minutes=14))
    await world.sign_in.refresh(thief.refresh_token)
    world.clock.advance(timedelta(minutes=1))
    assert await _refused(world, owner) == "REFRESH_TOKEN_REUSED"
    assert await world.sessions(user) == []


async def test_the_grace_is_that_of_the_token_not_of_its_successor(world: World) -> None:
    _, first = await world.signed_in()
    second = await world.sign_in.refresh(first.refresh_token)
    world.clock.advance(8)
    await world.sign_in.refresh(second.refresh_token)
    world.clock.advance(2)
    await world.sign_in.refresh(first.refresh_token)  # 10 s after its use, and two generations old
    world.clock.advance(1)
    assert await _refused(world, first) == "REFRESH_TOKEN_REUSED"


async def test_twenty_refreshes_at_once_all_get_tokens_of_one_generation(world: World) -> None:
    _, first = await world.signed_in()
    grants = await asyncio.gather(*(world.sign_in.refresh(first.refresh_token) for _ in range(20)))
    assert {grant.session.generation for grant in grants} == {1}
    assert len({grant.refresh_token for grant in grants}) == 20


async def test_a_refresh_at_the_same_time_does_not_undo_an_end(world: World) -> None:
    user = await world.register()
    for _ in range(15):
        grant = await world.log_in(user.email)
        refresh, end = world.sign_in.refresh(grant.refresh_token), world.sign_in.end(world.call(user), grant.session.id)
        await asyncio.gather(refresh, end, return_exceptions=True)
        assert await world.sessions(user) == []


async def test_a_session_ends_by_itself(world: World) -> None:
    user, first = await world.signed_in()
    world.clock.advance(timedelta(days=30))
    assert await _refused(world, first) == "TOKEN_EXPIRED"
    assert await world.sessions(user) == []


async def test_no_session_outlives_its_longest_life(world: World) -> None:
    rules = SessionRules(refresh_life=timedelta(days=30), longest_life=timedelta(days=45))
    short = await new_world(world.database, sessions=rules)
    _, grant = await short.signed_in()
    short.clock.advance(timedelta(days=29))
    grant = await short.sign_in.refresh(grant.refresh_token)
    assert grant.refresh_expire_time == grant.session.create_time + timedelta(days=45)
    short.clock.advance(timedelta(days=16) - timedelta(minutes=5))
    grant = await short.sign_in.refresh(grant.refresh_token)
    assert grant.access.expire_time == grant.refresh_expire_time  # an access token never outlives its session
    short.clock.advance(timedelta(minutes=5))
    assert await _refused(short, grant) == "TOKEN_EXPIRED"
    short.close()


@pytest.mark.parametrize("token", ["", "x", "x" * 512, "\0"])
async def test_a_token_of_nobody(small_world: World, token: str) -> None:
    with pytest.raises(CandelaError) as refused:
        await small_world.sign_in.refresh(token)
    assert refused.value.reason == "TOKEN_INVALID"


async def test_a_suspended_user_gets_no_new_tokens(world: World) -> None:
    user, grant = await world.signed_in()
    async with world.units.write() as tx:
        await tx.users.update(replace(user, state=State.SUSPENDED))
    assert await _refused(world, grant) == "SESSION_REVOKED"


async def test_new_tokens_carry_the_role_of_now(world: World) -> None:
    user, grant = await world.signed_in()
    async with world.units.write() as tx:
        await tx.users.update(replace(user, role=Role.PRO))
    assert (await world.sign_in.refresh(grant.refresh_token)).access.text.endswith(":PRO")


async def test_no_refresh_token_is_stored_as_it_is(small_world: World) -> None:
    _, grant = await small_world.signed_in()
    async with small_world.database.read_session() as session:
        rows = [repr(row) for table in metadata.sorted_tables for row in await session.execute(table.select())]
    assert not any(grant.refresh_token in row or grant.access.text in row for row in rows)


async def test_sessions_are_listed_newest_first_in_pages(world: World) -> None:
    user = await world.register()
    stranger, _ = await world.signed_in()
    made = []
    for number in range(5):
        world.clock.advance(0 if number == 2 else 1)  # two of one moment
        made.append((await world.log_in(user.email)).session)
    expected = [session.id for session in sorted(made, key=lambda s: (s.create_time, s.id), reverse=True)]
    seen: list[str] = []
    request = PageRequest(2)
    while True:
        page = await world.sign_in.list(world.call(user), request)
        seen += [session.id for session in page.items]
        if page.next is None:
            break
        request = PageRequest(2, page.next)
    assert seen == expected
    assert len(await world.sessions(stranger)) == 1


async def test_ending_a_session(world: World) -> None:
    user, grant = await world.signed_in()
    other = await world.log_in(user.email)
    await world.sign_in.end(world.call(user, other.session.id), grant.session.id)
    assert [session.id for session in await world.sessions(user)] == [other.session.id]
    assert world.revoker.ids == {grant.session.id}
    assert await _refused(world, grant) == "SESSION_REVOKED"
    await world.sign_in.end(world.call(user, other.session.id), "current")
    assert await world.sessions(user) == []
    assert (await world.actions())[-2:] == ["session.ended", "session.ended"]


async def test_ending_twice_is_not_found_and_a_replay_is_not(world: World) -> None:
    user, grant = await world.signed_in()
    call = world.call(user, grant.session.id, request_id="r1")
    for _ in range(2):
        await world.answer(call, lambda call: world.sign_in.end(call, grant.session.id))
    with pytest.raises(NotFound):
        await world.sign_in.end(world.call(user), grant.session.id)
    assert len(world.revoker.published) == 1


async def test_nobody_ends_the_sessions_of_others(world: World) -> None:
    _, grant = await world.signed_in()
    eve = await world.register()
    for session in (grant.session.id, "nothing", "current"):  # a call with an API key has no current session
        with pytest.raises(NotFound) as refused:
            await world.sign_in.end(world.call(eve), session)
        assert refused.value.metadata == {"resource": "session"}
    with pytest.raises(NotFound):
        await world.sign_in.end(world.call(replace(eve, tenant="other")), grant.session.id)
    await world.sign_in.refresh(grant.refresh_token)
    assert (await world.actions()).count("access.denied") == 3


async def test_a_session_ends_although_redis_is_down(world: World) -> None:
    user, grant = await world.signed_in()
    world.revoker.down = True
    await world.sign_in.end(world.call(user, grant.session.id), "current")
    assert await world.sessions(user) == []
    assert not await world.upkeep.republish()
    world.revoker.down = False
    assert await world.upkeep.republish()
    assert [gone.id for gone in world.revoker.healed] == [grant.session.id]


async def test_sweeping_removes_what_is_long_over(world: World) -> None:
    user, ended = await world.signed_in()
    living = await world.log_in(user.email)
    await world.sign_in.end(world.call(user), ended.session.id)
    world.clock.advance(timedelta(days=29))
    living = await world.sign_in.refresh(living.refresh_token)
    assert (await world.upkeep.sweep()).sessions == 0
    world.clock.advance(timedelta(days=3))
    assert (await world.upkeep.sweep()).sessions == 3  # the ended session, its token, and the living one's first
    assert await _refused(world, ended) == "TOKEN_INVALID"
    await world.sign_in.refresh(living.refresh_token)


async def _refused(world: World, grant: Grant) -> str:
    with pytest.raises(CandelaError) as refused:
        await world.sign_in.refresh(grant.refresh_token)
    return refused.value.reason
