"""Announcements over every database: who sees which when, in which order, changed by whom."""

from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty

from services.kit.call import Call
from services.kit.errors import Aborted, InvalidArgument, NotFound
from services.kit.paging import PageRequest
from services.user.domain.accounts import Role, User
from services.user.domain.announcements import Announcement, AnnouncementChange, AnnouncementDraft, Severity
from services.user.usecases.announcements import Announcing
from tests.unit.user.world import World


@pytest_asyncio.fixture
async def admin(world: World) -> User:
    return replace(await world.register(), role=Role.ADMIN)


@pytest.fixture
def announcing(world: World) -> Announcing:
    return Announcing(world.outside)


def other_tenant(world: World, admin: User) -> Call:
    return world.call(replace(admin, tenant="other"))


async def titles(announcing: Announcing, call: Call, size: int = 50) -> list[str]:
    """Return what is shown, over as many pages as it takes."""
    found: list[str] = []
    page = await announcing.shown(call, PageRequest(size))
    while True:
        found += [one.title for one in page.items]
        if page.next is None:
            return found
        page = await announcing.shown(call, PageRequest(size, page.next))


async def test_everybody_sees_the_most_severe_first_then_the_newest(
    world: World, admin: User, announcing: Announcing
) -> None:
    call = world.call(admin)
    severities = (Severity.INFO, Severity.CRITICAL, Severity.WARNING, Severity.CRITICAL, Severity.INFO)
    for number, severity in enumerate(severities):
        await announcing.create(call, AnnouncementDraft(f"{number}", severity=severity))
        world.clock.advance(1)
    for size in (1, 2, 50):
        assert await titles(announcing, world.call(), size) == ["3", "1", "2", "4", "0"]
    assert [one.title for one in (await announcing.all(call, PageRequest(50))).items] == ["4", "3", "2", "1", "0"]


async def test_those_of_one_moment_are_all_shown_once(world: World, admin: User, announcing: Announcing) -> None:
    made = {f"{number}" for number in range(7)}
    for title in made:
        await announcing.create(world.call(admin), AnnouncementDraft(title))
    shown = await titles(announcing, world.call(), 2)
    assert (len(shown), set(shown)) == (7, made)


async def test_new_ones_in_between_hide_and_repeat_nothing(world: World, admin: User, announcing: Announcing) -> None:
    for number in range(4):
        await announcing.create(world.call(admin), AnnouncementDraft(f"{number}"))
        world.clock.advance(1)
    first = await announcing.shown(world.call(), PageRequest(2))
    await announcing.create(world.call(admin), AnnouncementDraft("worse", severity=Severity.CRITICAL))
    await announcing.create(world.call(admin), AnnouncementDraft("newer"))
    rest = await announcing.shown(world.call(), PageRequest(2, first.next))
    assert [one.title for one in (*first.items, *rest.items)] == ["3", "2", "1", "0"]


async def test_one_is_shown_in_its_time_only(world: World, admin: User, announcing: Announcing) -> None:
    now = world.clock.now()
    draft = AnnouncementDraft(
        "tomorrow", start_time=now + timedelta(hours=1), end_time=now + timedelta(hours=2), body="**no** service"
    )
    made = await announcing.create(world.call(admin), draft)
    seen = []
    for _ in range(4):
        seen.append(await titles(announcing, world.call()))
        world.clock.advance(1800 * 1.5)
    assert seen == [[], [], ["tomorrow"], []]
    assert list((await announcing.all(world.call(admin), PageRequest(50))).items) == [made]


async def test_another_tenant_sees_and_changes_nothing(world: World, admin: User, announcing: Announcing) -> None:
    made = await announcing.create(world.call(admin), AnnouncementDraft("ours"))
    call = other_tenant(world, admin)
    assert await titles(announcing, call) == []
    assert not (await announcing.all(call, PageRequest(50))).items
    with pytest.raises(NotFound):
        await announcing.delete(call, made.id)
    with pytest.raises(NotFound):
        await announcing.update(call, made.id, changing("title", title="theirs"))


def changing(*paths: str, etag: str = "", **values: object) -> AnnouncementChange:
    draft = replace(AnnouncementDraft(""), **values)  # type: ignore[arg-type]  # fields of a draft by name
    return AnnouncementChange(draft, paths or tuple(values), etag)


async def test_a_change_makes_the_next_version(world: World, admin: User, announcing: Announcing) -> None:
    made = await announcing.create(world.call(admin), AnnouncementDraft("old", "text"))
    world.clock.advance(5)
    after = await announcing.update(
        world.call(admin), made.id, changing(title="new", severity=Severity.WARNING, etag=made.etag)
    )
    assert (after.title, after.body, after.severity, after.version) == ("new", "text", Severity.WARNING, 2)
    assert after.update_time - made.update_time == timedelta(seconds=5)
    with pytest.raises(Aborted) as stale:
        await announcing.update(world.call(admin), made.id, changing(title="late", etag=made.etag))
    assert (stale.value.reason, stale.value.metadata) == ("ETAG_MISMATCH", {"etag": after.etag})
    same = await announcing.update(world.call(admin), made.id, changing(title="new"))
    assert same == after


async def test_a_time_is_cleared_by_its_name(world: World, admin: User, announcing: Announcing) -> None:
    end = world.clock.now() + timedelta(hours=1)
    made = await announcing.create(world.call(admin), AnnouncementDraft("a", end_time=end))
    assert (await announcing.update(world.call(admin), made.id, changing("end_time"))).end_time is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (changing("title"), "announcement.title"),
        (changing("etag"), "update_mask"),
        (changing("nothing"), "update_mask"),
        (AnnouncementChange(AnnouncementDraft("a"), ()), "update_mask"),
    ],
)
async def test_a_change_that_cannot_be_is_refused(small_world: World, change: AnnouncementChange, field: str) -> None:
    announcing = Announcing(small_world.outside)
    admin = replace(await small_world.register(), role=Role.ADMIN)
    made = await announcing.create(small_world.call(admin), AnnouncementDraft("a"))
    with pytest.raises(InvalidArgument) as refused:
        await announcing.update(small_world.call(admin), made.id, change)
    assert [one.field for one in refused.value.violations] == [field]


async def test_an_end_before_the_start_is_refused(small_world: World) -> None:
    announcing = Announcing(small_world.outside)
    admin = replace(await small_world.register(), role=Role.ADMIN)
    now = small_world.clock.now()
    with pytest.raises(InvalidArgument) as refused:
        await announcing.create(small_world.call(admin), AnnouncementDraft("a", start_time=now, end_time=now))
    assert refused.value.violations[0].field == "end_time"
    made = await announcing.create(small_world.call(admin), AnnouncementDraft("a", start_time=now))
    with pytest.raises(InvalidArgument) as refused:
        await announcing.update(small_world.call(admin), made.id, changing(end_time=now - timedelta(1)))
    assert refused.value.violations[0].field == "announcement.end_time"


async def test_a_deleted_one_is_gone(world: World, admin: User, announcing: Announcing) -> None:
    made = await announcing.create(world.call(admin), AnnouncementDraft("a"))
    await announcing.delete(world.call(admin), made.id)
    assert await titles(announcing, world.call()) == []
    with pytest.raises(NotFound):
        await announcing.delete(world.call(admin), made.id)


async def test_every_change_is_in_the_audit_log(world: World, admin: User, announcing: Announcing) -> None:
    made = await announcing.create(world.call(admin, "s1"), AnnouncementDraft("a"))
    await announcing.update(world.call(admin), made.id, changing(title="b", body="c"))
    await announcing.update(world.call(admin), made.id, changing(title="b"))
    await announcing.delete(world.call(admin), made.id)
    registered, *entries = await world.audit()
    assert [entry.action for entry in entries] == [
        "announcement.created", "announcement.updated", "announcement.deleted",
    ]  # fmt: skip
    assert {(entry.actor, entry.resource) for entry in entries} == {(registered.actor, f"announcements/{made.id}")}
    assert '"changes":"title,body"' in entries[1].details
    assert all(report.broken is None for report in await world.verify())


async def test_a_repeat_deletes_once(world: World, admin: User, announcing: Announcing) -> None:
    made = await announcing.create(world.call(admin), AnnouncementDraft("a"))
    call = world.call(admin, request_id="r1")
    for _ in range(2):

        async def work(claimed: Call) -> Announcement | None:
            await announcing.delete(claimed, made.id)
            return None

        assert await world.answer(call, work) == Empty()
    assert (await world.actions()).count("announcement.deleted") == 1
