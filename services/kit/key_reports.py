"""What the user service is told of keys now and then: their last use, to the minute, and what they were refused.

Never a write a call: a key that is used all the time is reported once a minute and process, and so are refusals of one
kind, which are counted together. What cannot be reported now waits, a bounded number of it; a crash loses what was not
sent.
"""

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from services.kit.background import repeating
from services.kit.call import Principal
from services.kit.clock import Clock
from services.kit.errors import CandelaError

_LOG = logging.getLogger(__name__)
_EVERY_SECONDS = 5.0
_MOST = 1000
_MINUTE = 60.0
_Place = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class UsedKey:
    """When a key was used last, to the minute."""

    tenant: str
    key: str
    time: datetime


@dataclass(frozen=True, slots=True)
class RefusedKey:
    """What a key was refused, and how many times."""

    tenant: str
    key: str
    method: str
    reason: str
    count: int


class ReportSink(Protocol):
    """Who keeps what became of keys."""

    async def report(self, uses: Sequence[UsedKey], refusals: Sequence[RefusedKey]) -> None:
        """Take some in; CandelaError when that is not possible now."""


class KeyReports:
    """Gathers reports in one process and sends them on."""

    def __init__(self, sink: ReportSink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self._quiet_until: dict[_Place, float] = {}  # kinds of refusals that were reported lately
        self._uses: dict[tuple[str, str], UsedKey] = {}
        self._refusals: dict[_Place, RefusedKey] = {}
        self._minutes: OrderedDict[str, int] = OrderedDict()  # which minute of a key was reported already

    def used(self, caller: Principal, now: float) -> None:
        """Remember that a key was used at `now`, in Unix seconds."""
        minute = int(now // _MINUTE)
        if self._minutes.get(caller.api_key) == minute:
            return
        place = (caller.tenant, caller.api_key)
        if place in self._uses or len(self._uses) < _MOST:
            self._uses[place] = UsedKey(*place, datetime.fromtimestamp(minute * _MINUTE, UTC))
            self._minutes[caller.api_key] = minute
            self._minutes.move_to_end(caller.api_key)
            if len(self._minutes) > 10 * _MOST:
                self._minutes.popitem(last=False)

    def refused(self, caller: Principal, method: str, reason: str) -> None:
        """Count one refusal."""
        place: _Place = (caller.tenant, caller.api_key, method, reason)
        known = self._refusals.get(place)
        if known is not None:
            self._refusals[place] = replace(known, count=known.count + 1)
        elif len(self._refusals) < _MOST:
            self._refusals[place] = RefusedKey(*place, 1)

    async def send(self) -> None:
        """Report what has come up; what cannot be reported waits for the next time."""
        now = self._clock.monotonic()
        self._quiet_until = {place: until for place, until in self._quiet_until.items() if until > now}
        uses, self._uses = self._uses, {}
        refusals = {place: one for place, one in self._refusals.items() if place not in self._quiet_until}
        self._refusals = {place: one for place, one in self._refusals.items() if place in self._quiet_until}
        if not uses and not refusals:
            return
        try:
            await self._sink.report(list(uses.values()), list(refusals.values()))
        except CandelaError:
            self._put_back(uses.values(), refusals.values())
            raise
        self._quiet_until |= dict.fromkeys(refusals, now + _MINUTE)

    def _put_back(self, uses: Iterable[UsedKey], refusals: Iterable[RefusedKey]) -> None:
        for use in uses:
            self._uses.setdefault((use.tenant, use.key), use)
        for old in refusals:
            place = (old.tenant, old.key, old.method, old.reason)
            new = self._refusals.get(place)
            self._refusals[place] = old if new is None else replace(old, count=old.count + new.count)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Report every few seconds inside the block, and what is left at its end."""
        async with repeating("reporting uses of API keys", _EVERY_SECONDS, self.send):
            yield
        self._quiet_until.clear()
        try:
            await self.send()
        except CandelaError as error:
            _LOG.info("the last uses of API keys are not known to the user service: %s", error)
