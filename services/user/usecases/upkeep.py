"""What goes on in the background: healing Redis, counting active users, sweeping."""

from dataclasses import dataclass
from datetime import timedelta

from services.user.domain.sessions import SessionRules
from services.user.domain.throttling import ThrottleRules
from services.user.ports import ActiveUsers
from services.user.usecases.common import Outside

# An access token issued just before its revocation lives 15 minutes; the rest is room for clocks that differ.
REVOCATIONS_MATTER = timedelta(minutes=20)
_ACTIVE_WITHIN = timedelta(hours=24)
_ENDED_KEYS_KEPT = timedelta(days=30)  # so long the audit log is told when an ended key is tried
_EXPIRED_KEPT = timedelta(days=1)  # so long an expired refresh token is told so, later it is unknown


@dataclass(frozen=True, slots=True)
class Swept:
    """How many rows a sweep removed."""

    throttles: int
    sessions: int
    revocations: int
    api_keys: int


class Upkeep:
    """The service's background work; each method is one round of it."""

    def __init__(self, outside: Outside, sessions: SessionRules, throttles: ThrottleRules, gauge: ActiveUsers) -> None:
        self._outside = outside
        self._sessions = sessions
        self._throttles = throttles
        self._gauge = gauge

    async def republish(self) -> bool:
        """Publish every revocation that still matters, as the database knows them; False when Redis is away.

        Heals a crash between commit and publication and a Redis that lost its data.
        """
        now = self._outside.clock.now()
        async with self._outside.units.read() as tx:
            recent = await tx.revocations.since(now - REVOCATIONS_MATTER)
        return await self._outside.revoker.heal(recent)

    async def count_active(self) -> int:
        """Show how many users have a living session that was refreshed within 24 hours, and return it."""
        now = self._outside.clock.now()
        async with self._outside.units.read(may_lag=True) as tx:
            count = await tx.sessions.count_active_users(now - _ACTIVE_WITHIN, now)
        self._gauge.show(count)
        return count

    async def sweep(self) -> Swept:
        """Remove what nobody can use any more. Ended sessions stay for the length of a refresh token's life.

        So long can one of their tokens come back, and be told that the session has ended.
        """
        now = self._outside.clock.now()
        async with self._outside.units.write() as tx:
            return Swept(
                throttles=await tx.throttles.sweep(now - self._throttles.forget, self._throttles.unknown_kept),
                sessions=await tx.sessions.sweep(
                    now - _EXPIRED_KEPT, now - _EXPIRED_KEPT - self._sessions.refresh_life
                ),
                revocations=await tx.revocations.sweep(now - 2 * REVOCATIONS_MATTER),
                api_keys=await tx.api_keys.sweep(now - _ENDED_KEYS_KEPT),
            )
