"""API keys in SQL."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.engine import CursorResult, RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.database import for_update
from services.kit.paging import Cursor, Page, PageRequest
from services.kit.paging_sql import keyset
from services.user.domain.api_keys import ApiKey, KeyEnd, KeyUse, Scope
from services.user.storage.tables import API_KEYS

_KEYS = API_KEYS.c


class SqlApiKeys:
    """The keys."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, key: ApiKey, digest: bytes) -> None:
        fixed = {
            "id": key.id,
            "user_id": key.user,
            "digest": digest,
            "prefix": key.prefix,
            "scopes": ",".join(sorted(key.scopes)),
            "created_at": key.create_time,
            "expires_at": key.expire_time,
        }
        await self._session.execute(insert(API_KEYS).values(tenant=key.tenant, **fixed, **_row(key)))

    async def get(self, tenant: str, key: str, *, lock: bool = False) -> ApiKey | None:
        return await self._one(_is(tenant, key), lock=lock)

    async def found(self, digest: bytes) -> ApiKey | None:
        return await self._one(_KEYS.digest == digest)

    async def update(self, key: ApiKey) -> None:
        await self._session.execute(update(API_KEYS).where(_is(key.tenant, key.id)).values(**_row(key)))

    async def living(self, tenant: str, user: str, page: PageRequest) -> Page[ApiKey]:
        paged = keyset(select(API_KEYS).where(_living(tenant, user)), page, _KEYS.created_at, _KEYS.id)
        found = [_key(row) for row in (await self._session.execute(paged)).mappings()]
        return page.cut(found, lambda key: Cursor(key.create_time, key.id))

    async def count_living(self, tenant: str, user: str) -> int:
        statement = select(func.count()).select_from(API_KEYS).where(_living(tenant, user))
        return (await self._session.execute(statement)).scalar_one()

    async def end_all(self, tenant: str, user: str, reason: KeyEnd, now: datetime) -> list[str]:
        locked = for_update(select(_KEYS.id).where(_living(tenant, user)).order_by(_KEYS.id))
        ids = list((await self._session.execute(locked)).scalars())
        mine = and_(_KEYS.tenant == tenant, _KEYS.id.in_(ids))
        await self._session.execute(update(API_KEYS).where(mine).values(revoked_at=now, revoke_reason=reason.value))
        return ids

    async def used(self, uses: Sequence[KeyUse]) -> None:
        # One statement for each tenant and minute, not for each key; always in one order, against deadlocks.
        together: dict[tuple[str, datetime], list[str]] = defaultdict(list)
        for use in uses:
            together[(use.tenant, use.time)].append(use.key)
        for (tenant, time), keys in sorted(together.items()):
            older = or_(_KEYS.last_used_at.is_(None), _KEYS.last_used_at < time)
            wanted = select(_KEYS.id).where(_KEYS.tenant == tenant, _KEYS.id.in_(keys), older).order_by(_KEYS.id)
            ids = list((await self._session.execute(for_update(wanted))).scalars())
            mine = and_(_KEYS.tenant == tenant, _KEYS.id.in_(ids))
            await self._session.execute(update(API_KEYS).where(mine).values(last_used_at=time))

    async def sweep(self, before: datetime) -> int:
        result = await self._session.execute(delete(API_KEYS).where(_KEYS.revoked_at <= before))
        return result.rowcount if isinstance(result, CursorResult) else 0

    async def _one(self, condition: ColumnElement[bool], *, lock: bool = False) -> ApiKey | None:
        statement = select(API_KEYS).where(condition)
        row = (await self._session.execute(for_update(statement) if lock else statement)).mappings().one_or_none()
        return _key(row) if row else None


def _is(tenant: str, key: str) -> ColumnElement[bool]:
    return and_(_KEYS.tenant == tenant, _KEYS.id == key)


def _living(tenant: str, user: str) -> ColumnElement[bool]:
    return and_(_KEYS.tenant == tenant, _KEYS.user_id == user, _KEYS.revoked_at.is_(None))


def _row(key: ApiKey) -> dict[str, Any]:
    return {
        "display_name": key.display_name,
        "budget_micro_credits": key.budget_micro_credits,
        "requests_per_minute": key.requests_per_minute,
        "revoked_at": key.revoke_time,
        "revoke_reason": key.revoke_reason.value if key.revoke_reason else None,
        "revision": key.revision,
    }


def _key(row: RowMapping) -> ApiKey:
    return ApiKey(
        tenant=row["tenant"],
        id=row["id"],
        user=row["user_id"],
        prefix=row["prefix"],
        display_name=row["display_name"],
        scopes=frozenset(Scope(name) for name in row["scopes"].split(",")),
        create_time=row["created_at"],
        budget_micro_credits=row["budget_micro_credits"],
        requests_per_minute=row["requests_per_minute"],
        expire_time=row["expires_at"],
        last_use_time=row["last_used_at"],
        revoke_time=row["revoked_at"],
        revoke_reason=KeyEnd(row["revoke_reason"]) if row["revoke_reason"] else None,
        revision=row["revision"],
    )
