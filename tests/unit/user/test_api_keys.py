"""API keys over every database: shown once, bounded, ended for good."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import select

from candela.user.v1 import api_key_pb2
from services.kit.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from services.kit.key_text import digest_of, well_formed
from services.kit.paging import Cursor, PageRequest
from services.user.api.api_keys import key_message
from services.user.domain.accounts import User
from services.user.domain.api_keys import ApiKey, KeyChange, KeyRefusal, KeyUse, NewKey, Scope
from services.user.domain.sessions import Ended
from services.user.storage.tables import API_KEYS, CLAIMS
from services.user.usecases.api_keys import KeyGrant
from tests.unit.user.world import MOST_KEYS, World

READING = NewKey("reader", frozenset({Scope.RECOGNITION, Scope.FILES}))


async def made(world: World, user: User, wanted: NewKey = READING) -> KeyGrant:
    return await world.keys.create(world.call(user), wanted)


async def listed(world: World, user: User, size: int = 50) -> list[ApiKey]:
    return list((await world.keys.list(world.call(user), PageRequest(size))).items)


async def role_of(world: World, secret: str) -> str | None:
    standing = await world.checks.look_up(digest_of(secret))
    return standing.role if standing else None


def changing(
    *paths: str, etag: str = "", name: str = "", budget: int | None = None, rate: int | None = None
) -> KeyChange:
    return KeyChange(name, budget, rate, paths, etag)


async def test_a_key_is_kept_by_its_digest_only(world: World) -> None:
    user = await world.register()
    grant = await made(world, user)
    assert well_formed(grant.secret)
    assert grant.secret.startswith(grant.key.prefix)
    assert grant.secret not in repr(grant)
    async with world.database.read_session() as session:
        row = (await session.execute(select(API_KEYS))).mappings().one()
    assert row["digest"] == digest_of(grant.secret)
    assert grant.secret not in str(dict(row))
    assert await role_of(world, grant.secret) == "FREE"
    assert (await world.actions())[-1] == "api_key.created"


async def test_a_repeat_shows_the_secret_for_ten_minutes(world: World) -> None:
    user = await world.register()
    call = world.call(user, request_id="r1", body="x")

    def message(grant: KeyGrant) -> api_key_pb2.ApiKeyGrant:
        return api_key_pb2.ApiKeyGrant(api_key=key_message(grant.key), secret=grant.secret)

    async def create() -> api_key_pb2.ApiKeyGrant:
        kind = api_key_pb2.ApiKeyGrant
        return await world.replies.run(call, kind, lambda one: world.keys.create(one, READING), message)

    first, again = await create(), await create()
    assert first == again
    assert len(await listed(world, user)) == 1
    async with world.database.read_session() as session:
        kept = (await session.execute(select(CLAIMS.c.reply))).scalars().all()
    assert all(first.secret.encode() not in bytes(reply) for reply in kept if reply)
    world.clock.advance(timedelta(minutes=10))
    with pytest.raises(AlreadyExists) as late:
        await create()
    assert late.value.reason == "REPLY_EXPIRED"


async def test_a_user_has_so_many_keys_at_a_time_also_when_made_at_once(world: World) -> None:
    user = await world.register()
    results = await asyncio.gather(*(made(world, user) for _ in range(MOST_KEYS + 3)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    assert len(refused) == 3
    assert all(isinstance(error, FailedPrecondition) and error.metadata == {"limit": "5"} for error in refused)
    keys = await listed(world, user)
    assert len(keys) == MOST_KEYS
    await world.keys.end(world.call(user), keys[0].id)
    await made(world, user)


async def test_a_key_that_would_be_over_is_not_made(small_world: World) -> None:
    user = await small_world.register()
    over = NewKey("late", frozenset({Scope.CHAT}), expire_time=small_world.clock.now())
    with pytest.raises(InvalidArgument) as refused:
        await made(small_world, user, over)
    assert [violation.field for violation in refused.value.violations] == ["expire_time"]


async def test_a_deleted_key_is_gone_for_its_owner_and_refused_everywhere(world: World) -> None:
    user = await world.register()
    grant = await made(world, user)
    await world.keys.end(world.call(user), grant.key.id)
    assert [(r.kind, r.id) for r in world.revoker.published] == [(Ended.API_KEY, grant.key.id)]
    assert await listed(world, user) == []
    assert await role_of(world, grant.secret) is None
    for attempt in (world.keys.get, world.keys.end):
        with pytest.raises(NotFound):
            await attempt(world.call(user), grant.key.id)
    entries = [entry for entry in await world.audit() if entry.action == "api_key.refused"]
    assert [entry.resource for entry in entries] == [f"apiKeys/{grant.key.id}"]
    for _ in range(5):  # hammering does not fill the log
        assert await role_of(world, grant.secret) is None
    assert len([a for a in await world.actions() if a == "api_key.refused"]) == 1
    world.clock.advance(timedelta(days=31))
    assert (await world.upkeep.sweep()).api_keys == 1


async def test_anothers_key_looks_like_none(world: World) -> None:
    ada, eve = await world.register(), await world.register()
    grant = await made(world, ada)
    for key in (grant.key.id, "no-such-key"):
        for attempt in (
            world.keys.get(world.call(eve), key),
            world.keys.end(world.call(eve), key),
            world.keys.update(world.call(eve), key, changing("display_name", name="mine")),
        ):
            with pytest.raises(NotFound) as refused:
                await attempt
            assert refused.value.metadata == {"resource": "apiKey"}
    assert (await world.actions()).count("access.denied") == 6
    assert await listed(world, eve) == []


async def test_changes_follow_the_mask_and_the_etag(world: World) -> None:
    user = await world.register()
    key = (await made(world, user)).key
    call = world.call(user)
    after = await world.keys.update(call, key.id, changing("budget_micro_credits", "display_name", name="b", budget=7))
    assert (after.display_name, after.budget_micro_credits, after.requests_per_minute) == ("b", 7, None)
    assert after.etag != key.etag
    with pytest.raises(Aborted) as old:
        await world.keys.update(call, key.id, changing("requests_per_minute", etag=key.etag, rate=5))
    assert old.value.reason == "ETAG_MISMATCH"
    cleared = await world.keys.update(call, key.id, changing("budget_micro_credits", etag=after.etag))
    assert cleared.budget_micro_credits is None
    same = await world.keys.update(call, key.id, changing("display_name", name="b"))
    assert same.etag == cleared.etag
    details = [entry.details for entry in await world.audit() if entry.action == "api_key.updated"]
    assert len(details) == 2
    assert "none \\u2192 7" in details[0]
    assert "display_name: " not in details[0]


@pytest.mark.parametrize(
    "change", [changing(), changing("scopes"), changing("nonsense"), changing("display_name", name="")]
)
async def test_impossible_changes(small_world: World, change: KeyChange) -> None:
    user = await small_world.register()
    key = (await made(small_world, user)).key
    with pytest.raises(InvalidArgument):
        await small_world.keys.update(small_world.call(user), key.id, change)


async def test_pages_hold_every_key_once_while_others_are_made(world: World) -> None:
    user = await world.register()
    for number in range(3):
        world.clock.advance(1)
        await made(world, user, NewKey(f"k{number}", frozenset({Scope.CHAT})))
    seen: list[str] = []
    after: Cursor | None = None
    for number in range(2):
        page = await world.keys.list(world.call(user), PageRequest(2, after))
        seen += [key.display_name for key in page.items]
        after = page.next
        await made(world, user, NewKey(f"new{number}", frozenset({Scope.CHAT})))
    assert seen == ["k2", "k1", "k0"]
    assert after is None


async def test_the_last_use_is_remembered_to_the_minute_and_never_goes_back(world: World) -> None:
    user = await world.register()
    keys = [(await made(world, user)).key for _ in range(3)]
    now = world.clock.now()

    async def used(uses: Sequence[KeyUse]) -> None:
        await world.checks.take_in_own(uses, [])

    await used([KeyUse("default", key.id, now) for key in keys] + [KeyUse("default", "gone", now)])
    later = now + timedelta(minutes=1)
    await used([KeyUse("default", keys[0].id, later), KeyUse("default", keys[1].id, now - timedelta(minutes=1))])
    times = {key.id: key.last_use_time for key in await listed(world, user)}
    assert times == {keys[0].id: later, keys[1].id: now, keys[2].id: now}


async def test_reported_refusals_are_in_the_audit_log_of_known_keys(world: World) -> None:
    user = await world.register()
    key = (await made(world, user)).key
    refusals = [
        KeyRefusal("default", key.id, "candela.user.v1.UserService/GetUser", "PERMISSION_DENIED", 3),
        KeyRefusal("default", "made-up", "x", "PERMISSION_DENIED", 1),
        KeyRefusal("elsewhere", key.id, "x", "PERMISSION_DENIED", 1),
    ]
    await world.checks.take_in_own([], refusals)
    entry = (await world.audit())[-1]
    assert (entry.action, entry.outcome, entry.resource) == ("api_key.refused", "denied", f"apiKeys/{key.id}")
    assert '"count":"3"' in entry.details
    assert (await world.actions()).count("api_key.refused") == 1


async def test_keys_go_with_their_user(world: World) -> None:
    user = await world.register()
    grant = await made(world, user)
    await world.accounts.delete(world.call(user), "me")
    assert await role_of(world, grant.secret) is None
    async with world.database.read_session() as session:
        assert (await session.execute(select(API_KEYS))).all() == []


async def test_another_tenants_key_is_not_there(world: World) -> None:
    ada = await world.register()
    key = (await made(world, ada)).key
    async with world.units.read() as tx:
        assert await tx.api_keys.get("other", key.id) is None
        assert await tx.api_keys.count_living("other", ada.id) == 0


async def test_an_expired_key_is_still_listed_and_says_when_it_ended(small_world: World) -> None:
    user = await small_world.register()
    ends = small_world.clock.now() + timedelta(hours=1)
    grant = await made(small_world, user, NewKey("brief", frozenset({Scope.CHAT}), expire_time=ends))
    small_world.clock.advance(timedelta(hours=2))
    standing = await small_world.checks.look_up(digest_of(grant.secret))
    assert standing is not None
    assert standing.key.expired(small_world.clock.now())
    assert [key.expire_time for key in await listed(small_world, user)] == [ends]
