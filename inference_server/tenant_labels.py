"""Which tenants of a model have a label of their own on the metrics page: the busiest, so that pages stay small."""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final

from inference_server import names
from inference_server.statistics import COMPUTE, COUNTED_OF_TENANT, Tally

MOST_LABELS: Final = 20
REVIEW_SECONDS: Final = 60.0

Numbers = Sequence[float]
Shown = tuple[str, Mapping[str, float], float]
"""A tenant, its items by outcome, its seconds of compute."""


class TenantLabels:
    """The labelled tenants of one model. Nothing that it shows ever shrinks; not thread-safe."""

    def __init__(self) -> None:
        self._base: dict[str, Numbers] = {}  # what a tenant had when it got its label, counted as `other` until then
        self._shown: dict[str, Numbers] = {}  # what labelled tenants showed at the last look
        self._gone = _none()  # what those showed that lost their label; it must not come again as `other`
        self._others = _none()
        self._known: set[str] = set()  # who was there at the last look
        self._seen: dict[str, float] = {}  # items of every tenant at the last review
        self._reviewed = 0.0

    def shown(self, tallies: Sequence[Tally], now: float | None = None) -> list[Shown]:
        """Return the labelled tenants' numbers and, last, those of all others together."""
        tenants = _tenants(tallies)
        now = monotonic() if now is None else now
        if now - self._reviewed >= REVIEW_SECONDS:
            self._reviewed = now
            self._take_from_the_quiet(tenants)
        for tenant in tenants:
            if len(self._base) >= MOST_LABELS:
                break
            self._give(tenant, tenants[tenant])
        for tenant, base in self._base.items():
            now_shown = _minus(tenants.get(tenant, base), base)
            self._shown[tenant] = _higher(now_shown, self._shown.get(tenant, now_shown))
        others = _minus(_everything(tallies), self._gone)
        for numbers in self._shown.values():
            others = _minus(others, numbers)
        self._others = _higher(others, self._others)
        self._known = set(tenants)
        rows = [*self._shown.items(), (names.OTHER_TENANTS, self._others)]
        return [_row(tenant, numbers) for tenant, numbers in rows if any(numbers)]

    def _take_from_the_quiet(self, tenants: Mapping[str, Numbers]) -> None:
        """Give labels to those who were busier since the last review than some that have one."""
        totals = {tenant: sum(numbers[: len(COUNTED_OF_TENANT)]) for tenant, numbers in tenants.items()}
        grown = {tenant: total - self._seen.get(tenant, 0.0) for tenant, total in totals.items()}
        self._seen = totals
        ranked = sorted((one for one in grown if grown[one] > 0), key=lambda one: -grown[one])
        new = [one for one in ranked[:MOST_LABELS] if one not in self._base]
        quiet = sorted(self._base.keys() - set(ranked[:MOST_LABELS]), key=lambda one: grown.get(one, 0.0))
        for tenant in quiet[: max(len(self._base) + len(new) - MOST_LABELS, 0)]:
            del self._base[tenant]
            self._gone = _plus(self._gone, self._shown.pop(tenant))
        for tenant in new:
            self._give(tenant, tenants[tenant])

    def _give(self, tenant: str, numbers: Numbers) -> None:
        if tenant in {"", names.OTHER_TENANTS} or tenant in self._base:
            return
        self._base[tenant] = numbers if tenant in self._known else _none()


def _tenants(tallies: Sequence[Tally]) -> dict[str, Numbers]:
    tenants: dict[str, Numbers] = {}
    for tally in tallies:
        for tenant, kept in tally.tenants.copy().items():
            tenants[tenant] = _plus(tenants[tenant], kept) if tenant in tenants else tuple(kept)
    return tenants


def _everything(tallies: Sequence[Tally]) -> Numbers:
    total = _none()
    for tally in tallies:
        counts = [float(tally.items[outcome]) for outcome in names.OUTCOMES]
        total = _plus(total, (*counts, tally.refused_items, tally.queue_seconds, tally.compute_seconds))
    return total


def _none() -> Numbers:
    return (0.0,) * (COMPUTE + 1)


def _plus(one: Numbers, other: Numbers) -> Numbers:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _minus(one: Numbers, other: Numbers) -> Numbers:
    return tuple(max(a - b, 0.0) for a, b in zip(one, other, strict=True))


def _higher(one: Numbers, other: Numbers) -> Numbers:
    return tuple(max(a, b) for a, b in zip(one, other, strict=True))


def _row(tenant: str, numbers: Numbers) -> Shown:
    return tenant, dict(zip(COUNTED_OF_TENANT, numbers, strict=False)), numbers[COMPUTE]
