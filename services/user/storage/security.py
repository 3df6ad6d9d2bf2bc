"""Counts of wrong passwords and the log of revocations in SQL."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.engine import CursorResult, RowMapping
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import Delete

from services.kit.database import for_update
from services.kit.errors import Aborted
from services.kit.statements import insert_if_absent, insert_or_raise
from services.user.domain.sessions import Ended, Revocation
from services.user.domain.throttling import Throttle, fresh
from services.user.storage.tables import REVOCATIONS, THROTTLES

_TRIES = 3


class SqlThrottles:
    """The counts. A row is made before it is locked, so that two first attempts at once are two counted attempts."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock(self, tenant: str, key: str, now: datetime, *, known: bool) -> Throttle:
        new = fresh(tenant, key, now, known=known)
        for _ in range(_TRIES):
            await insert_if_absent(self._session, THROTTLES, {"tenant": tenant, "key": key, **_row(new)})
            locking = for_update(select(THROTTLES).where(_is(tenant, key)))
            row = (await self._session.execute(locking)).mappings().one_or_none()
            if row is not None:  # else somebody cleared it between the two statements
                return _throttle(row)
        raise Aborted("this log-in is being tried and cleared by others; retry")

    async def save(self, throttle: Throttle) -> None:
        await self._session.execute(
            update(THROTTLES).where(_is(throttle.tenant, throttle.key)).values(**_row(throttle))
        )

    async def clear(self, tenant: str, key: str) -> None:
        await self._session.execute(delete(THROTTLES).where(_is(tenant, key)))

    async def sweep(self, before: datetime, unknown_kept: int) -> int:
        swept = await _deleted(self._session, delete(THROTTLES).where(THROTTLES.c.last_at < before))
        unknown = THROTTLES.c.known.is_(False)
        count = (await self._session.execute(select(func.count()).select_from(THROTTLES).where(unknown))).scalar_one()
        if count <= unknown_kept:
            return swept
        # The time of the youngest one that has to go; ties go with it.
        oldest_first = select(THROTTLES.c.last_at).where(unknown).order_by(THROTTLES.c.last_at)
        last = (await self._session.execute(oldest_first.offset(count - unknown_kept - 1).limit(1))).scalar_one()
        return swept + await _deleted(self._session, delete(THROTTLES).where(unknown, THROTTLES.c.last_at <= last))


class SqlRevocationLog:
    """The revocations that still matter."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, revocations: Sequence[Revocation]) -> None:
        rows = [{"tenant": r.tenant, "kind": r.kind.value, "id": r.id, "revoked_at": r.time} for r in revocations]
        await insert_or_raise(self._session, REVOCATIONS, rows, ("tenant", "kind", "id"), "revoked_at")

    async def since(self, time: datetime) -> list[Revocation]:
        rows = (await self._session.execute(select(REVOCATIONS).where(REVOCATIONS.c.revoked_at > time))).mappings()
        return [Revocation(row["tenant"], Ended(row["kind"]), row["id"], row["revoked_at"]) for row in rows]

    async def sweep(self, before: datetime) -> int:
        return await _deleted(self._session, delete(REVOCATIONS).where(REVOCATIONS.c.revoked_at < before))


def _is(tenant: str, key: str) -> ColumnElement[bool]:
    return and_(THROTTLES.c.tenant == tenant, THROTTLES.c.key == key)


def _row(throttle: Throttle) -> dict[str, object]:
    return {
        "known": throttle.known,
        "failures": throttle.failures,
        "last_at": throttle.last_time,
        "closed_until": throttle.closed_until,
        "noted": throttle.noted,
    }


def _throttle(row: RowMapping) -> Throttle:
    return Throttle(
        tenant=row["tenant"],
        key=row["key"],
        known=row["known"],
        failures=row["failures"],
        last_time=row["last_at"],
        closed_until=row["closed_until"],
        noted=row["noted"],
    )


async def _deleted(session: AsyncSession, statement: Delete) -> int:
    result = await session.execute(statement)
    return result.rowcount if isinstance(result, CursorResult) else 0
