"""Settings over every database: bounds, versions, who changed what, and that they count."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
import pytest_asyncio

from services.kit.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound
from services.kit.live_settings import CATALOGUE, FILE_SPACE, SESSION_LIFE, SIGN_UP_OPEN, LiveValues, Value
from services.kit.paging import PageRequest
from services.user.domain.accounts import Role, User
from services.user.usecases.accounts import Accounts
from services.user.usecases.sessions import SignIn
from services.user.usecases.system_configs import ConfigChange, SystemConfigs
from tests.unit.user.world import SESSION_RULES, World


@dataclass
class Published:
    """What Redis was told."""

    numbers: list[int] = field(default_factory=list)

    async def publish(self, changes: int) -> bool:
        self.numbers.append(changes)
        return True


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def configs(world: World, published: Published) -> SystemConfigs:
    return SystemConfigs(world.outside, LiveValues({FILE_SPACE.id: 7 * 2**20}), published)


@pytest_asyncio.fixture
async def admin(world: World) -> User:
    return replace(await world.register(), role=Role.ADMIN)


def to(value: Value | None, kind: str, etag: str = "") -> ConfigChange:
    return ConfigChange(value, (kind,), etag)


async def test_all_settings_are_listed_by_name(world: World, admin: User, configs: SystemConfigs) -> None:
    call = world.call(admin)
    first = await configs.list(call, PageRequest(3))
    rest = await configs.list(call, PageRequest(3, first.next))
    views = [*first.items, *rest.items]
    assert [view.version.config for view in views] == sorted(CATALOGUE)
    assert rest.next is None
    assert {view.version.version for view in views} == {1}
    assert all(view.user == "" and view.version.time is None for view in views)
    by_name = {view.version.config: view.version.value for view in views}
    assert by_name[FILE_SPACE.id] == 7 * 2**20  # as the process was started, not as the code says
    assert by_name[SIGN_UP_OPEN.id] is True


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("sign-up-open", "toggle", False),
        ("session-life", "duration", timedelta(days=2, microseconds=3)),
        ("document-pages", "integer", 7),
        ("recognition-closed", "text", "zu, 关闭 – back at 12:00"),
    ],
)
async def test_a_setting_is_changed(
    world: World, admin: User, configs: SystemConfigs, published: Published, name: str, kind: str, value: Value
) -> None:
    view = await configs.update(world.call(admin), name, to(value, kind))
    assert (view.version.value, view.version.version, view.user) == (value, 2, admin.id)
    assert view.version.time == world.clock.now()
    assert await configs.get(world.call(admin), name) == view
    assert await configs.effective() == {("default", name): value}
    assert published.numbers == [1]


async def test_versions_are_kept(world: World, admin: User, configs: SystemConfigs) -> None:
    call = world.call(admin)
    for pages in (3, 4, 4, 5):  # setting the same again is no new version
        await configs.update(call, "document-pages", to(pages, "integer"))
    found, after = [], None
    while True:
        page = await configs.versions(call, "document-pages", PageRequest(2, after))
        found += [(view.version.version, view.version.value) for view in page.items]
        if page.next is None:
            break
        after = page.next
    assert found == [(4, 5), (3, 4), (2, 3), (1, 50)]
    untouched = await configs.versions(call, "sign-up-open", PageRequest(2))
    assert [view.version.version for view in untouched.items] == [1]


async def test_an_old_etag_is_refused(world: World, admin: User, configs: SystemConfigs) -> None:
    call = world.call(admin)
    first = await configs.get(call, "document-pages")
    await configs.update(call, "document-pages", to(3, "integer", first.version.etag))
    with pytest.raises(Aborted) as stale:
        await configs.update(call, "document-pages", to(4, "integer", first.version.etag))
    assert stale.value.reason == "ETAG_MISMATCH"


async def test_of_two_changes_at_once_none_is_lost(world: World, admin: User, configs: SystemConfigs) -> None:
    etag = (await configs.get(world.call(admin), "document-pages")).version.etag
    changes = (configs.update(world.call(admin), "document-pages", to(pages, "integer", etag)) for pages in (3, 4))
    done = await asyncio.gather(*changes, return_exceptions=True)
    assert sorted(isinstance(one, Aborted) for one in done) == [False, True], done
    assert (await configs.get(world.call(admin), "document-pages")).version.version == 2


@pytest.mark.parametrize(
    ("name", "change", "wrong"),
    [
        ("document-pages", to(0, "integer"), "system_config.value"),
        ("document-pages", to(51, "integer"), "system_config.value"),
        ("document-pages", to("7", "text"), "system_config.value"),
        ("document-pages", to(True, "integer"), "system_config.value"),
        ("document-pages", to(None, "integer"), "system_config.value"),
        ("document-pages", ConfigChange(7, ("integer", "text")), "system_config.value"),
        ("document-pages", ConfigChange(7, ()), "update_mask"),
        ("document-pages", ConfigChange(7, ("description",)), "update_mask"),
        ("session-life", to(timedelta(minutes=59), "duration"), "system_config.value"),
        ("session-life", to(timedelta(days=366), "duration"), "system_config.value"),
        ("recognition-closed", to("x" * 501, "text"), "system_config.value"),
        ("sign-up-open", to(1, "toggle"), "system_config.value"),
    ],
)
async def test_what_a_setting_cannot_be_is_refused(
    small_world: World, published: Published, name: str, change: ConfigChange, wrong: str
) -> None:
    configs = SystemConfigs(small_world.outside, LiveValues(), published)
    admin = replace(await small_world.register(), role=Role.ADMIN)
    with pytest.raises(InvalidArgument) as refused:
        await configs.update(small_world.call(admin), name, change)
    assert [one.field for one in refused.value.violations] == [wrong]
    assert not published.numbers


async def test_an_unknown_setting_is_not_there(world: World, admin: User, configs: SystemConfigs) -> None:
    call = world.call(admin)
    with pytest.raises(NotFound):
        await configs.get(call, "nothing")
    with pytest.raises(NotFound):
        await configs.versions(call, "nothing", PageRequest(2))
    with pytest.raises(NotFound):
        await configs.update(call, "nothing", to(1, "integer"))


async def test_tenants_have_settings_of_their_own(world: World, admin: User, configs: SystemConfigs) -> None:
    await configs.update(world.call(admin), "document-pages", to(3, "integer"))
    other = world.call(replace(admin, tenant="other"))
    assert (await configs.get(other, "document-pages")).version.value == 50
    await configs.update(other, "document-pages", to(4, "integer"))
    assert await configs.effective() == {("default", "document-pages"): 3, ("other", "document-pages"): 4}


async def test_a_change_is_in_the_audit_log(world: World, admin: User, configs: SystemConfigs) -> None:
    await configs.update(world.call(admin), "document-pages", to(3, "integer"))
    await configs.update(world.call(admin), "recognition-closed", to("somebody's words", "text"))
    registered, pages, closed = await world.audit()
    assert (pages.action, pages.actor, pages.resource) == (
        "system_config.updated", registered.actor, "systemConfigs/document-pages",
    )  # fmt: skip
    assert "50 \\u2192 3" in pages.details
    assert "words" not in closed.details


async def test_who_is_erased_is_named_no_longer(world: World, admin: User, configs: SystemConfigs) -> None:
    await configs.update(world.call(admin), "document-pages", to(3, "integer"))
    async with world.units.write() as tx:
        await tx.subjects.erase(admin.tenant, admin.id)
    assert (await configs.get(world.call(admin), "document-pages")).user == ""


async def test_the_number_of_changes_is_published_again(
    world: World, admin: User, configs: SystemConfigs, published: Published
) -> None:
    await configs.republish()
    await configs.update(world.call(admin), "document-pages", to(3, "integer"))
    await configs.update(world.call(admin), "sign-up-open", to(False, "toggle"))
    await configs.republish()
    assert published.numbers == [0, 1, 2, 2]


async def test_registration_can_be_closed(small_world: World) -> None:
    live = LiveValues()
    outside = replace(small_world.outside, live=live)
    small_world.accounts = Accounts(outside)
    before = await small_world.register()
    live.take({("default", SIGN_UP_OPEN.id): False})
    with pytest.raises(FailedPrecondition, match="closed"):
        await small_world.register()
    assert await small_world.log_in(before.email)
    live.take({})
    assert await small_world.register()


async def test_a_new_session_lives_as_long_as_is_set_now(small_world: World) -> None:
    live = LiveValues()
    outside = replace(small_world.outside, live=live)
    small_world.sign_in = SignIn(outside, small_world.attempts, SESSION_RULES)
    user = await small_world.register()
    live.take({("default", SESSION_LIFE.id): timedelta(hours=2)})
    grant = await small_world.log_in(user.email)
    assert grant.refresh_expire_time - small_world.clock.now() == timedelta(hours=2)
    live.take({("default", SESSION_LIFE.id): timedelta(hours=3)})
    again = await small_world.sign_in.refresh(grant.refresh_token)
    assert again.refresh_expire_time - small_world.clock.now() == timedelta(hours=3)
