"""Following settings: at once through Redis, soon without it, with the last values while the source is away."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from services.kit.clock import ManualClock
from services.kit.errors import InvalidArgument, Unavailable
from services.kit.live import KEY, LiveChanges, LiveFollower
from services.kit.live_settings import (
    CATALOGUE,
    DOCUMENT_PAGES,
    RECOGNITION_CLOSED,
    SIGN_UP_OPEN,
    Kind,
    LiveValues,
    Setting,
    Value,
)
from services.kit.redis import redis_client
from tests.support.redis_server import RedisServer

OPERATIONS = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
PAGES = ("default", DOCUMENT_PAGES.id)


@dataclass
class Source:
    """Where the settings come from, as fast or as away as a test wants."""

    values: dict[tuple[str, str], Value] = field(default_factory=dict)
    away: bool = False
    fetched: int = 0

    async def fetch(self) -> Mapping[tuple[str, str], Value]:
        if self.away:
            raise Unavailable("nobody is there")
        self.fetched += 1
        return self.values


@dataclass
class Process:
    """A process that follows."""

    live: LiveValues
    source: Source
    clock: ManualClock
    follower: LiveFollower

    @property
    def pages(self) -> int:
        return self.live.get(DOCUMENT_PAGES, "default")


def process(redis: "Redis") -> Process:
    live, source, clock = LiveValues(), Source(), ManualClock()
    return Process(live, source, clock, LiveFollower(live, source, redis, clock))


async def test_a_change_is_fetched_when_redis_says_so(redis: "Redis") -> None:
    one, changes = process(redis), LiveChanges(redis)
    assert await one.follower.follow()
    assert one.pages == DOCUMENT_PAGES.default
    assert not await one.follower.follow()
    one.source.values[PAGES] = 7
    assert await changes.publish(1)
    assert await one.follower.follow()
    assert one.pages == 7
    assert not await one.follower.follow()
    assert one.source.fetched == 2


async def test_the_same_number_again_is_no_news(redis: "Redis") -> None:
    one, changes = process(redis), LiveChanges(redis)
    await changes.publish(1)
    await one.follower.follow()
    await changes.publish(1)
    assert not await one.follower.follow()


async def test_what_redis_lost_is_written_again(redis: "Redis") -> None:
    one, changes = process(redis), LiveChanges(redis)
    await changes.publish(3)
    await one.follower.follow()
    await redis.flushall()
    one.source.values[PAGES] = 7
    await changes.publish(4)
    assert await one.follower.follow()
    assert one.pages == 7
    assert await redis.get(KEY) == b"4"


async def test_now_and_then_it_is_asked_all_the_same(redis: "Redis") -> None:
    one = process(redis)
    await one.follower.follow()
    one.source.values[PAGES] = 7
    one.clock.advance(9.9)
    assert not await one.follower.follow()
    one.clock.advance(0.2)
    assert await one.follower.follow()


async def test_without_redis_it_is_asked_twice_a_second(shared_redis: RedisServer) -> None:
    redis = redis_client(shared_redis.url)
    one, changes = process(redis), LiveChanges(redis)
    await changes.publish(1)
    await one.follower.follow()
    shared_redis.stop()
    try:
        one.source.values[PAGES] = 7
        assert not await changes.publish(2)
        assert not await one.follower.follow()
        one.clock.advance(0.6)
        assert await one.follower.follow()
        assert one.pages == 7
    finally:
        shared_redis.start()
        await redis.aclose()


async def test_the_last_values_hold_while_the_source_is_away(redis: "Redis") -> None:
    one, changes = process(redis), LiveChanges(redis)
    one.source.values[PAGES] = 7
    await one.follower.follow()
    one.source.away = True
    await changes.publish(1)
    with pytest.raises(Unavailable):
        await one.follower.follow()
    assert one.pages == 7
    one.source.away, one.source.values = False, {}
    assert await one.follower.follow()  # the number was not taken as seen
    assert one.pages == DOCUMENT_PAGES.default


async def test_a_start_without_the_source_has_the_defaults(redis: "Redis") -> None:
    one = process(redis)
    one.source.away = True
    async with one.follower.following():
        assert one.pages == DOCUMENT_PAGES.default


def test_tenants_and_starts_have_values_of_their_own() -> None:
    live = LiveValues({DOCUMENT_PAGES.id: 20})
    live.take({PAGES: 7})
    assert live.get(DOCUMENT_PAGES, "default") == 7
    assert live.get(DOCUMENT_PAGES, "other") == 20
    assert live.default(DOCUMENT_PAGES) == 20


@pytest.mark.parametrize("setting", CATALOGUE.values(), ids=lambda one: one.id)
def test_every_setting_is_whole(setting: Setting[Any]) -> None:
    setting.check(setting.default)
    assert setting.kind.decode(setting.kind.encode(setting.default)) == setting.default
    assert setting.description.endswith(".")
    assert f"| `{setting.id}` | `{setting.kind.value}` |" in OPERATIONS


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.TEXT, "a\nb 关"),
        (Kind.INTEGER, -(2**62)),
        (Kind.NUMBER, 0.1),
        (Kind.TOGGLE, False),
        (Kind.DURATION, timedelta(days=-3, microseconds=1)),
    ],
)
def test_values_are_stored_as_they_are(kind: Kind, value: Value) -> None:
    decoded = kind.decode(kind.encode(value))
    assert (decoded, type(decoded)) == (value, type(value))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        (DOCUMENT_PAGES, 0),
        (DOCUMENT_PAGES, 51),
        (RECOGNITION_CLOSED, "x" * 501),
        (Setting("n", Kind.NUMBER, 0.5, "A number.", least=0.0, most=1.0), float("nan")),
        (Setting("n", Kind.NUMBER, 0.5, "A number.", least=0.0, most=1.0), 1.5),
    ],
)
def test_bounds_hold(setting: Setting[Any], value: Value) -> None:
    with pytest.raises(InvalidArgument) as refused:
        setting.check(value)
    assert refused.value.violations[0].field == "system_config.value"
    SIGN_UP_OPEN.check(False)
