"""Sessions, API keys and users whose tokens no longer hold, known to every process within a second.

The truth is in the user service's database; Redis carries it as one sorted set (member `s:<session>`, `k:<key>` or
`u:<user>`, score = Unix seconds of the revocation), and every process keeps a copy in memory, so that checking costs no
round trip. An entry matters as long as a token issued before it may live. A copy that has not been refreshed for too
long answers nobody: refusing signed-in callers is better than admitting a thief.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.kit.call import Principal
from services.kit.clock import Clock, SystemClock
from services.kit.errors import Unauthenticated, Unavailable
from services.kit.tasks import end
from services.kit.tokens import USER_LIFE, Verified

KEY = "candela:{revoked}"
_KEEP_SECONDS = USER_LIFE.total_seconds() + 300  # the life of an access token, and room for clocks that differ
_OVERLAP_SECONDS = 10.0  # each poll reads this far back again: writers' clocks differ
_LOG = logging.getLogger(__name__)


def session_member(session: str) -> str:
    """Return the set's member for one session."""
    return f"s:{session}"


def user_member(user: str) -> str:
    """Return the set's member for every token that a user has now; tokens issued later hold."""
    return f"u:{user}"


def key_member(key: str) -> str:
    """Return the set's member for one API key."""
    return f"k:{key}"


class Revocations:
    """This process's copy of the revocations, and the way to add one."""

    def __init__(
        self, redis: "Redis", *, poll_seconds: float = 0.25, stale_seconds: float = 5.0, clock: Clock | None = None
    ) -> None:
        self._redis = redis
        self._poll_seconds = poll_seconds
        self._stale_seconds = stale_seconds
        self._clock: Clock = clock or SystemClock()
        self._revoked: dict[str, float] = {}  # every entry that still matters, also when Redis has lost it
        self._mirror: dict[str, float] = {}  # what Redis held when last read
        self._read_to: float | None = None  # score up to which Redis was read; None: read everything
        self._refreshed_at: float | None = None

    def check(self, verified: Verified) -> None:
        """Refuse a token whose session or user is revoked.

        Raises Unauthenticated (SESSION_REVOKED), or Unavailable when the copy is too old to tell. Service tokens have
        no session and pass.
        """
        principal = verified.principal
        if principal.service:
            return
        self.check_fresh()
        if self._is_revoked(principal, verified.issued_at):
            raise Unauthenticated("the session was ended", reason="SESSION_REVOKED")

    def _is_revoked(self, principal: Principal, issued_at: float) -> bool:
        if principal.session and session_member(principal.session) in self._revoked:
            return True
        everything_before = self._revoked.get(user_member(principal.user))
        return everything_before is not None and issued_at <= everything_before

    def check_fresh(self) -> None:
        """Raise Unavailable when the copy is too old to tell what was revoked."""
        if not self.is_fresh():
            raise Unavailable("sessions cannot be checked right now", retry_after=1.0)

    def ended(self, member: str) -> bool:
        """Say whether a session or an API key was ended, by its member of the set."""
        return member in self._revoked

    def ended_at(self, user: str) -> float | None:
        """Return until when a user's tokens were ended, in Unix seconds; None when none were lately."""
        return self._revoked.get(user_member(user))

    def is_fresh(self) -> bool:
        """Say whether Redis was read recently enough to trust the copy."""
        return 0 <= self.age_seconds() <= self._stale_seconds

    def age_seconds(self) -> float:
        """Return the time since Redis was last read, -1 before the first time."""
        return -1.0 if self._refreshed_at is None else self._clock.monotonic() - self._refreshed_at

    async def revoke(self, *members: str, at: datetime | None = None) -> None:
        """Publish revocations, effective at `at` (default: now) and here at once; drops entries that no longer matter.

        Repeating one is harmless; a later time wins. Raises Unavailable when Redis cannot be reached: the copy of this
        process has them then, and publishing again later heals the others.
        """
        if not members:
            return
        score = (at or self._clock.now()).timestamp()
        scores = dict.fromkeys(members, score)
        self._merge(scores)
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.zadd(KEY, scores, gt=True)
                pipeline.zremrangebyscore(KEY, "-inf", self._clock.now().timestamp() - _KEEP_SECONDS)
                await pipeline.execute()
        except (RedisError, OSError) as exc:
            raise Unavailable("the revocation could not be published", retry_after=1.0) from exc

    @asynccontextmanager
    async def following(self) -> AsyncIterator["Revocations"]:
        """Keep the copy fresh inside the block. Starts also while Redis is down; calls are refused until it is up."""
        try:
            await self.refresh()
        except (RedisError, OSError) as exc:
            _LOG.warning("revocations cannot be read yet: %s", exc)
        task = asyncio.create_task(self._follow(), name="revocations")
        try:
            yield self
        finally:
            await end(task)

    async def _follow(self) -> None:
        reachable = self._refreshed_at is not None
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self.refresh()
            except (RedisError, OSError) as exc:
                self._read_to = None  # it may come back empty, or be another one
                if reachable:
                    _LOG.warning("revocations cannot be read: %s", exc)
                reachable = False
            else:
                if not reachable:
                    _LOG.info("revocations are read again")
                reachable = True

    async def refresh(self) -> None:
        """Read what is new since the last time, or everything when that does not add up; raises RedisError, OSError.

        The number of members tells whether the copy lacks any: entries published late with an old score, or trimmed.
        """
        asked_at, now = self._clock.monotonic(), self._clock.now().timestamp()
        if self._read_to is not None:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.zrangebyscore(KEY, self._read_to - _OVERLAP_SECONDS, "+inf", withscores=True)
                pipeline.zcard(KEY)
                recent, size = await pipeline.execute()
            self._mirror.update(_decoded(recent))
            if len(self._mirror) != size:
                self._read_to = None
        if self._read_to is None:
            self._mirror = _decoded(await self._redis.zrange(KEY, 0, -1, withscores=True))
        self._merge(self._mirror)
        self._forget(now)
        self._read_to = now
        self._refreshed_at = asked_at

    def _merge(self, scores: dict[str, float]) -> None:
        for member, score in scores.items():
            if score > self._revoked.get(member, 0.0):
                self._revoked[member] = score

    def _forget(self, now: float) -> None:
        oldest = now - _KEEP_SECONDS
        for member in [member for member, score in self._revoked.items() if score < oldest]:
            del self._revoked[member]


def _decoded(entries: list[Any]) -> dict[str, float]:
    return {member.decode() if isinstance(member, bytes) else member: score for member, score in entries}
