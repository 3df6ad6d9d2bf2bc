"""Sessions and refresh tokens in SQL."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.engine import CursorResult, RowMapping
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import Delete

from services.kit.database import for_update
from services.kit.paging import Cursor, Page, PageRequest
from services.kit.paging_sql import keyset
from services.user.domain.sessions import EndReason, RefreshToken, Session
from services.user.storage.tables import REFRESH_TOKENS, SESSIONS


class SqlSessions:
    """The sessions."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, session: Session) -> None:
        fixed = {"id": session.id, "user_id": session.user, "device": session.device, "created_at": session.create_time}
        await self._session.execute(insert(SESSIONS).values(tenant=session.tenant, **fixed, **_row(session)))

    async def get(self, tenant: str, session: str, *, lock: bool = False) -> Session | None:
        statement = select(SESSIONS).where(_is(tenant, session))
        row = (await self._session.execute(for_update(statement) if lock else statement)).mappings().one_or_none()
        return _session(row) if row else None

    async def update(self, session: Session) -> None:
        await self._session.execute(update(SESSIONS).where(_is(session.tenant, session.id)).values(**_row(session)))

    async def living(self, tenant: str, user: str, now: datetime, page: PageRequest) -> Page[Session]:
        statement = select(SESSIONS).where(_living(tenant, user, now))
        paged = keyset(statement, page, SESSIONS.c.created_at, SESSIONS.c.id)
        found = [_session(row) for row in (await self._session.execute(paged)).mappings()]
        return page.cut(found, lambda session: Cursor(session.create_time, session.id))

    async def end_others(self, tenant: str, user: str, keep: str, reason: EndReason, now: datetime) -> list[str]:
        others = and_(_living(tenant, user, now), SESSIONS.c.id != keep)
        locked = for_update(select(SESSIONS.c.id).where(others))
        ids = list((await self._session.execute(locked)).scalars())
        mine = and_(SESSIONS.c.tenant == tenant, SESSIONS.c.id.in_(ids))
        await self._session.execute(update(SESSIONS).where(mine).values(revoked_at=now, revoke_reason=reason.value))
        return ids

    async def add_token(self, token: RefreshToken) -> None:
        await self._session.execute(
            insert(REFRESH_TOKENS).values(
                tenant=token.tenant,
                digest=token.digest,
                session_id=token.session,
                generation=token.generation,
                expires_at=token.expire_time,
                used_at=token.use_time,
            )
        )

    async def token(self, digest: bytes) -> RefreshToken | None:
        statement = select(REFRESH_TOKENS).where(REFRESH_TOKENS.c.digest == digest)
        row = (await self._session.execute(statement)).mappings().one_or_none()
        return _token(row) if row else None

    async def retire(self, session: Session, generation: int, now: datetime) -> None:
        tokens = REFRESH_TOKENS.c
        unused = and_(
            tokens.tenant == session.tenant,
            tokens.session_id == session.id,
            tokens.generation == generation,
            tokens.used_at.is_(None),
        )
        await self._session.execute(update(REFRESH_TOKENS).where(unused).values(used_at=now))

    async def delete_all(self, tenant: str, user: str) -> None:
        # Their tokens go with them (ON DELETE CASCADE), also one that a refresh under way is just adding.
        await self._session.execute(delete(SESSIONS).where(SESSIONS.c.tenant == tenant, SESSIONS.c.user_id == user))

    async def count_active_users(self, since: datetime, now: datetime) -> int:
        living = and_(SESSIONS.c.revoked_at.is_(None), SESSIONS.c.expires_at > now)
        users = select(SESSIONS.c.tenant, SESSIONS.c.user_id).where(SESSIONS.c.refreshed_at > since, living).distinct()
        return (await self._session.execute(select(func.count()).select_from(users.subquery()))).scalar_one()

    async def sweep(self, tokens_before: datetime, sessions_before: datetime) -> int:
        tokens = await self._deleted(delete(REFRESH_TOKENS).where(REFRESH_TOKENS.c.expires_at <= tokens_before))
        over = or_(SESSIONS.c.expires_at <= sessions_before, SESSIONS.c.revoked_at <= sessions_before)
        return tokens + await self._deleted(delete(SESSIONS).where(over))

    async def _deleted(self, statement: Delete) -> int:
        result = await self._session.execute(statement)
        return result.rowcount if isinstance(result, CursorResult) else 0


def _is(tenant: str, session: str) -> ColumnElement[bool]:
    return and_(SESSIONS.c.tenant == tenant, SESSIONS.c.id == session)


def _living(tenant: str, user: str, now: datetime) -> ColumnElement[bool]:
    own = and_(SESSIONS.c.tenant == tenant, SESSIONS.c.user_id == user)
    return and_(own, SESSIONS.c.revoked_at.is_(None), SESSIONS.c.expires_at > now)


def _row(session: Session) -> dict[str, Any]:
    return {
        "refreshed_at": session.last_refresh_time,
        "expires_at": session.expire_time,
        "generation": session.generation,
        "revoked_at": session.revoke_time,
        "revoke_reason": session.revoke_reason.value if session.revoke_reason else None,
    }


def _session(row: RowMapping) -> Session:
    return Session(
        tenant=row["tenant"],
        id=row["id"],
        user=row["user_id"],
        device=row["device"],
        create_time=row["created_at"],
        last_refresh_time=row["refreshed_at"],
        expire_time=row["expires_at"],
        generation=row["generation"],
        revoke_time=row["revoked_at"],
        revoke_reason=EndReason(row["revoke_reason"]) if row["revoke_reason"] else None,
    )


def _token(row: RowMapping) -> RefreshToken:
    return RefreshToken(
        tenant=row["tenant"],
        digest=row["digest"],
        session=row["session_id"],
        generation=row["generation"],
        expire_time=row["expires_at"],
        use_time=row["used_at"],
    )
