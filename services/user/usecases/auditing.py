"""Checking the audit log."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.kit.errors import DataLoss
from services.kit.uow import Units
from services.user.domain.audit import Break, Walk
from services.user.ports import UserTx


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What re-walking one tenant's chain found: how many entries hold from its beginning, and where it breaks."""

    tenant: str
    entries: int
    broken: Break | None


async def verify_chains(units: Units[UserTx]) -> AsyncIterator[ChainReport]:
    """Re-walk every tenant's chain and report the first place where each does not hold."""
    async with units.read() as tx:
        tenants = await tx.audit.tenants()
    for tenant in tenants:
        yield await _verify(units, tenant)


async def _verify(units: Units[UserTx], tenant: str) -> ChainReport:
    walk = Walk(tenant)
    async with units.read() as tx:  # one snapshot: entries and head belong together
        try:
            async for entry in tx.audit.walk(tenant):
                if (broken := walk.step(entry)) is not None:
                    return ChainReport(tenant, walk.length, broken)
        except DataLoss as error:
            return ChainReport(tenant, walk.length, Break(tenant, walk.length + 1, error.message))
        return ChainReport(tenant, walk.length, walk.finish(await tx.audit.head(tenant)))
