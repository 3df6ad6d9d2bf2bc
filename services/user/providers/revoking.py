"""Revocations into Redis, where every process of the mesh reads them."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.kit.errors import Unavailable
from services.kit.revocation import KEY, Revocations, key_member, session_member, user_member
from services.user.domain.sessions import Ended, Revocation

_LOG = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 1.0  # a call has committed already; its answer does not wait longer for Redis
_BATCH = 1000
_MEMBERS = {Ended.SESSION: session_member, Ended.USER: user_member, Ended.API_KEY: key_member}


class RedisRevoker:
    """Publishes through the kit's Revocations, so that this very process refuses the tokens at once."""

    def __init__(self, redis: "Redis", revocations: Revocations, *, quiet: bool = False) -> None:
        """Publish through `revocations`; `quiet` for a command whose mesh may well be down."""
        self._redis = redis
        self._level = logging.DEBUG if quiet else logging.WARNING
        self._revocations = revocations
        self._reachable = True

    async def publish(self, revocations: Sequence[Revocation]) -> bool:
        by_time: dict[datetime, list[str]] = defaultdict(list)
        for revocation in revocations:
            by_time[revocation.time].append(_member(revocation))
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                for time, members in by_time.items():
                    await self._revocations.revoke(*members, at=time)
        except (Unavailable, TimeoutError) as error:
            _LOG.log(self._level, "%d revocations wait for Redis: %s", len(revocations), error or "no answer")
            return False
        return True

    async def heal(self, revocations: Sequence[Revocation]) -> bool:
        scores = {_member(revocation): revocation.time.timestamp() for revocation in revocations}
        members = list(scores)
        try:
            for start in range(0, len(members), _BATCH):
                batch = {member: scores[member] for member in members[start : start + _BATCH]}
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    await self._redis.zadd(KEY, batch, gt=True)
        except (RedisError, OSError, TimeoutError) as error:
            if self._reachable:
                _LOG.warning("revocations cannot be published: %s", error or "no answer")
            self._reachable = False
            return False
        if not self._reachable:
            _LOG.info("revocations are published again")
        self._reachable = True
        return True


def _member(revocation: Revocation) -> str:
    return _MEMBERS[revocation.kind](revocation.id)
