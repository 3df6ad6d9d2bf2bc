"""What the service shows on its Prometheus page."""

import math

from redis.asyncio import Redis

from observability import names
from observability.metrics import gauge
from services.kit.errors import Unavailable
from services.kit.redis import used_memory


class ActiveUsersGauge:
    """The gauge `active_users_total`."""

    def show(self, count: int) -> None:
        gauge(names.ACTIVE_USERS).set(count)


class RedisMemoryGauge:
    """The gauge `redis_memory_usage_bytes`; the service that revokes sessions through Redis watches it for the mesh."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def measure(self) -> None:
        """Ask Redis once. While it is away the gauge says that it does not know; others complain louder."""
        try:
            used = float(await used_memory(self._redis))
        except Unavailable:
            used = math.nan
        gauge(names.REDIS_MEMORY).set(used)
