"""API keys in any service: whom a key stands for, asked of the user service and remembered for a while.

A remembered key works on while the user service restarts, and never after its end: revocations come through Redis
within a second (`k:<key>`), and whatever ends a user's tokens (`u:<user>`: suspended, erased, another role) makes every
key of that user be asked for again. Only digests are kept and sent, never a key.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from services.kit.call import Principal
from services.kit.clock import Clock
from services.kit.errors import CandelaError, ResourceExhausted, Unauthenticated, Unavailable
from services.kit.key_limits import MinuteLimits
from services.kit.key_reports import KeyReports
from services.kit.key_text import digest_of, well_formed
from services.kit.revocation import Revocations, key_member

_FRESH_SECONDS = 30.0  # older answers still count and are asked for again: so long a changed limit takes to count
_STALE_SECONDS = 900.0  # less than revocations are kept: what ended in the meantime is still known
_UNKNOWN_SECONDS = 10.0
_REMEMBERED = 4096
_LOOK_UPS = 16
_WAITING = 256


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that was found: whom it stands for, and when it ends in Unix seconds, None for never."""

    principal: Principal
    expires_at: float | None = None


class KeySource(Protocol):
    """Who knows all keys."""

    async def look_up(self, digest: bytes) -> KnownKey | None:
        """Return what the key of a digest stands for, None when there is none to be used. Unavailable when away."""


@dataclass(slots=True)
class _Entry:
    """A remembered key, when it was asked for, and until when its user's tokens had been ended before that."""

    known: KnownKey
    asked_at: float
    ended_before: float | None


@dataclass(slots=True)
class _Remembered:
    """Keys by their digests, a bounded number of each kind: made-up keys never push real ones out."""

    keys: "OrderedDict[bytes, _Entry]" = field(default_factory=OrderedDict)
    unknown: "OrderedDict[bytes, float]" = field(default_factory=OrderedDict)

    def keep(self, digest: bytes, entry: _Entry) -> None:
        self.unknown.pop(digest, None)
        self.keys[digest] = entry
        self.keys.move_to_end(digest)
        if len(self.keys) > _REMEMBERED:
            self.keys.popitem(last=False)

    def keep_unknown(self, digest: bytes, asked_at: float) -> None:
        self.keys.pop(digest, None)
        self.unknown[digest] = asked_at
        self.unknown.move_to_end(digest)
        if len(self.unknown) > _REMEMBERED:
            self.unknown.popitem(last=False)


class CachedApiKeys:
    """The pipeline's port for API keys."""

    def __init__(
        self, source: KeySource, revocations: Revocations, limits: MinuteLimits, reports: KeyReports, clock: Clock
    ) -> None:
        self._source = source
        self._revocations = revocations
        self._limits = limits
        self._reports = reports
        self._clock = clock
        self._remembered = _Remembered()
        self._flights: dict[bytes, asyncio.Task[_Entry | None]] = {}
        self._turns = asyncio.Semaphore(_LOOK_UPS)

    async def principal_of(self, key: str) -> Principal:
        """Return whom a key stands for.

        Unauthenticated (TOKEN_INVALID, TOKEN_EXPIRED) when it does not hold, Unavailable when that cannot be told now.
        """
        if not well_formed(key):
            raise invalid_key()
        self._revocations.check_fresh()
        digest = digest_of(key)
        entry = await self._entry(digest)
        if entry is None:
            raise invalid_key()
        principal, now = entry.known.principal, self._clock.now().timestamp()
        if self._revocations.ended(key_member(principal.api_key)):
            self.refused(principal, "", "TOKEN_INVALID")
            raise invalid_key()
        if entry.known.expires_at is not None and now >= entry.known.expires_at:
            self.refused(principal, "", "TOKEN_EXPIRED")
            raise Unauthenticated("this API key has expired", reason="TOKEN_EXPIRED")
        self._reports.used(principal, now)
        return principal

    async def count(self, caller: Principal) -> None:
        """Count a call that is admitted; ResourceExhausted (RATE_LIMITED) when it is one too many."""
        await self._limits.count(caller)

    def refused(self, caller: Principal, method: str, reason: str) -> None:
        """Remember that a key was refused something, for the audit log."""
        self._reports.refused(caller, method, reason)

    async def _entry(self, digest: bytes) -> _Entry | None:
        now = self._clock.monotonic()
        entry = self._remembered.keys.get(digest)
        if entry is None:
            asked_at = self._remembered.unknown.get(digest)
            if asked_at is not None and now - asked_at < _UNKNOWN_SECONDS:
                return None
            return await self._asked(digest, "")
        user = entry.known.principal.user
        if self._outdated(entry, user):
            return await self._asked(digest, user)
        if now - entry.asked_at >= _STALE_SECONDS:
            return await self._asked(digest, user)
        if now - entry.asked_at >= _FRESH_SECONDS and len(self._flights) < _WAITING:
            self._flight(digest, user)  # nobody waits for it: what ended the key would be known already
        self._remembered.keys.move_to_end(digest)
        return entry

    def _outdated(self, entry: _Entry, user: str) -> bool:
        ended_at = self._revocations.ended_at(user)
        return ended_at is not None and (entry.ended_before is None or ended_at > entry.ended_before)

    async def _asked(self, digest: bytes, user: str) -> _Entry | None:
        """Ask for a key, once for everybody who waits for it; whoever goes away leaves the others their answer."""
        if digest not in self._flights and len(self._flights) >= _WAITING:
            raise ResourceExhausted("too many API keys are being checked", reason="OVERLOADED", retry_after=1.0)
        return await asyncio.shield(self._flight(digest, user))

    def _flight(self, digest: bytes, user: str) -> "asyncio.Task[_Entry | None]":
        flight = self._flights.get(digest)
        if flight is None:
            flight = asyncio.create_task(self._ask(digest, user), name="API key")
            self._flights[digest] = flight
            flight.add_done_callback(self._landed(digest))
        return flight

    def _landed(self, digest: bytes) -> "Callable[[asyncio.Task[_Entry | None]], None]":
        def landed(flight: "asyncio.Task[_Entry | None]") -> None:
            self._flights.pop(digest, None)
            if not flight.cancelled():
                flight.exception()  # all who waited may be gone; it is theirs to tell, and nobody's to log

        return landed

    async def _ask(self, digest: bytes, user: str) -> _Entry | None:
        async with self._turns:
            asked_at, ended_before = self._clock.monotonic(), self._revocations.ended_at(user)
            known = await self._look_up(digest)
            if known is not None and known.principal.user != user:
                # Whose it is was not known before: the answer may be older than an end that came in meanwhile.
                ended_before = self._revocations.ended_at(known.principal.user)
                if ended_before is not None:
                    asked_at, known = self._clock.monotonic(), await self._look_up(digest)
        if known is None:
            self._remembered.keep_unknown(digest, asked_at)
            return None
        entry = _Entry(known, asked_at, ended_before)
        self._remembered.keep(digest, entry)
        return entry

    async def _look_up(self, digest: bytes) -> KnownKey | None:
        try:
            return await self._source.look_up(digest)
        except ResourceExhausted:
            raise
        except CandelaError as error:
            raise Unavailable("API keys cannot be checked right now", retry_after=1.0) from error


def invalid_key() -> Unauthenticated:
    """Return the one answer for a key that is mistyped, unknown or ended."""
    return Unauthenticated("this is no API key of ours, or it was ended", reason="TOKEN_INVALID")
