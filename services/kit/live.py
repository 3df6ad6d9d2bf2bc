"""Following the settings that admins change: every process has them within a second.

The truth is in the user service's database. A change sets one key in Redis to the number of changes ever made; every
process looks at it four times a second and asks the user service when it is another one. What Redis loses the user
service writes again within a second; while Redis is away processes ask twice a second instead; and now and then they
ask all the same. While the user service is away the last values hold.

    live = LiveValues()                                                                          # main.py
    async with mesh.channel("user") as user, LiveFollower(live, LiveServiceSource(user), mesh.redis).following():
        …  live.get(DOCUMENT_PAGES, call.caller.tenant)                                          # usecases.py
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.kit.background import repeating
from services.kit.clock import Clock, SystemClock
from services.kit.errors import CandelaError
from services.kit.live_settings import LiveValues, Value

KEY = "candela:{live}:changes"
POLL_SECONDS = 0.25
_WITHOUT_REDIS_SECONDS = 0.5
_ALL_THE_SAME_SECONDS = 10.0
_FIRST_SECONDS = 2.0
_LOG = logging.getLogger(__name__)


class LiveSource(Protocol):
    """Where the settings come from."""

    async def fetch(self) -> Mapping[tuple[str, str], Value]:
        """Return what every tenant has set, by tenant and id; raises CandelaError."""


class LiveFollower:
    """Keeps a copy of the settings fresh."""

    def __init__(self, values: LiveValues, source: LiveSource, redis: "Redis", clock: Clock | None = None) -> None:
        self._values = values
        self._source = source
        self._redis = redis
        self._clock: Clock = clock or SystemClock()
        self._seen: bytes | str | None = None
        self._fetched_at: float | None = None

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Keep the copy fresh inside the block. Starts with the defaults when the settings cannot be had in time."""
        try:
            async with asyncio.timeout(_FIRST_SECONDS):
                await self.follow()
        except (CandelaError, TimeoutError) as error:
            _LOG.warning("settings cannot be read yet, so they have their defaults: %s", error)
        async with repeating("following settings", POLL_SECONDS, self.follow):
            yield

    async def follow(self) -> bool:
        """Fetch the settings when they may have changed; say whether they were fetched. Raises CandelaError."""
        changes, limit = self._seen, _ALL_THE_SAME_SECONDS
        try:
            changes = await self._redis.get(KEY)
        except (RedisError, OSError):
            limit = _WITHOUT_REDIS_SECONDS
        now = self._clock.monotonic()
        fresh = self._fetched_at is not None and now - self._fetched_at < limit
        if fresh and changes == self._seen:
            return False
        self._values.take(await self._source.fetch())
        self._seen, self._fetched_at = changes, now
        return True


class LiveChanges:
    """How many changes there were, written where every process sees it."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    async def publish(self, changes: int) -> bool:
        """Write the number unless it stands there; False (and a log line) when Redis cannot be reached."""
        try:
            if await self._redis.get(KEY) != str(changes).encode():
                await self._redis.set(KEY, changes)
        except (RedisError, OSError) as error:
            _LOG.warning("a change of settings could not be published and will be again: %s", error)
            return False
        return True
