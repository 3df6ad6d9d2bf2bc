"""How often a key may call: one exact count a minute for all processes together, in Redis.

While Redis is away each process counts for itself: a limit that is N times too generous for a moment is better than
refusing everybody, and `api_key_local_counts_total` shows that it happens.
"""

import asyncio
import logging

from redis.asyncio import Redis
from redis.exceptions import RedisError

from observability import names
from observability.metrics import counter
from services.kit.call import Principal
from services.kit.clock import Clock
from services.kit.errors import ResourceExhausted
from services.kit.redis import Keys

_LOG = logging.getLogger(__name__)
_MINUTE = 60.0
_KEPT_SECONDS = 120
_PATIENCE_SECONDS = 0.25
_AWAY_SECONDS = 1.0  # so long nobody waits for a Redis that did not answer


class MinuteLimits:
    """Counts the calls of keys that have a limit of their own."""

    def __init__(self, redis: "Redis", clock: Clock) -> None:
        self._redis = redis
        self._clock = clock
        self._local: dict[str, int] = {}
        self._local_minute = -1
        self._away_until = 0.0

    async def count(self, caller: Principal) -> None:
        """Count one call of a key; ResourceExhausted (RATE_LIMITED) when it is one too many in this minute."""
        limit = caller.requests_per_minute
        if not limit:
            return
        now = self._clock.now().timestamp()
        minute = int(now // _MINUTE)
        if await self._counted(caller, minute) <= limit:
            return
        seconds = (minute + 1) * _MINUTE - now
        raise ResourceExhausted(
            f"this API key may call {limit} times a minute",
            metadata={"requests_per_minute": str(limit)},
            retry_after=seconds,
        )

    async def _counted(self, caller: Principal, minute: int) -> int:
        if self._clock.monotonic() < self._away_until:
            return self._counted_here(caller.api_key, minute)
        name = Keys(caller.tenant)("key-calls", caller.api_key, str(minute))
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._redis.pipeline(transaction=True) as pipeline:
                pipeline.incr(name)
                pipeline.expire(name, _KEPT_SECONDS)
                return int((await pipeline.execute())[0])
        except (RedisError, OSError, TimeoutError) as error:
            _LOG.warning("calls of API keys are counted in this process only: %s", error or "Redis does not answer")
            self._away_until = self._clock.monotonic() + _AWAY_SECONDS
            return self._counted_here(caller.api_key, minute)

    def _counted_here(self, key: str, minute: int) -> int:
        counter(names.KEY_LOCAL_COUNTS).inc()
        if minute != self._local_minute:
            self._local_minute = minute
            self._local.clear()
        self._local[key] = self._local.get(key, 0) + 1
        return self._local[key]
