"""Reading from a replica that lags behind, without anybody missing what they just wrote.

A read goes to the replica only where the use case says that it may lag (`units.read(call, may_lag=True)`): lists and
single things that people look at. Whoever wrote within the last ten seconds reads from the primary, through whichever
process: the pin is kept in memory and in Redis. Sign-in, keys, revocations, request ids and whatever decides a write
never come from a replica, because nobody marks them so. A replica that does not answer is left alone for a while and
the primary asked instead; so is Redis.

A replica that lags by more than the pin shows its readers older data: watch it (docs/databases.md says how).
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from observability import names
from observability.metrics import counter
from services.kit.call import Call, Principal
from services.kit.clock import Clock
from services.kit.database import Database
from services.kit.redis import Keys

_LOG = logging.getLogger(__name__)
PIN = timedelta(seconds=10)
_AWAY_SECONDS = 5.0  # so long nobody waits for a replica that did not answer


class Replica:
    """A read-only copy of a service's database, and who may not read from it for the moment."""

    def __init__(self, database: Database, service: str, redis: Redis, clock: Clock, pin: timedelta = PIN) -> None:
        """`service` keeps the pins of several databases apart; it is part of their names in Redis."""
        self.database = database
        self._service = service
        self._redis = redis
        self._clock = clock
        self._pin = pin
        self._pinned: dict[tuple[str, str], float] = {}
        self._away_until = 0.0

    async def may_serve(self, call: Call | None) -> bool:
        """Say whether the replica may answer this call; one that is nobody's in particular, it may."""
        if self._clock.monotonic() < self._away_until:
            return False
        who = _who(call)
        if who is None:
            return True
        if self._clock.monotonic() < self._pinned.get((who.tenant, who.user), 0.0):
            return False
        try:
            return not await self._redis.exists(self._key(who))
        except (RedisError, OSError):
            return False  # nobody knows

    async def wrote(self, call: Call | None) -> None:
        """Remember that the caller wrote just now. Without Redis only here: the others ask the primary then."""
        who = _who(call)
        if who is None:
            return
        now = self._clock.monotonic()
        self._forget(now)
        self._pinned[(who.tenant, who.user)] = now + self._pin.total_seconds()
        try:
            await self._redis.set(self._key(who), b"1", px=self._pin)
        except (RedisError, OSError) as error:
            _LOG.warning("a write could not be told to other processes: %s", error)

    def failed(self) -> None:
        """Leave the replica alone for a while."""
        counter(names.REPLICA_FALLBACKS).inc()
        now = self._clock.monotonic()
        if now >= self._away_until:
            _LOG.warning("the database's replica does not answer; its reads go to the primary")
        self._away_until = now + _AWAY_SECONDS

    def _key(self, who: Principal) -> str:
        return Keys(who.tenant)("wrote", self._service, who.user)

    def _forget(self, now: float) -> None:
        if len(self._pinned) > 10_000:
            self._pinned = {who: until for who, until in self._pinned.items() if until > now}


@asynccontextmanager
async def replica_of(url: SecretStr | None, service: str, redis: Redis, clock: Clock) -> AsyncIterator[Replica | None]:
    """Open the replica that a setting names, None without one, and close it again."""
    if url is None:
        yield None
        return
    database = Database(url.get_secret_value())
    try:
        yield Replica(database, service, redis, clock)
    finally:
        await database.close()


def _who(call: Call | None) -> Principal | None:
    return call.principal if call is not None and call.principal is not None and call.principal.user else None
