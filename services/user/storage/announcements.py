"""Announcements in SQL."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, insert, literal, or_, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.database import for_update
from services.kit.paging import Cursor, Page, PageRequest
from services.kit.paging_sql import keyset
from services.kit.types import UtcDateTime
from services.user.domain.announcements import Announcement, Severity
from services.user.storage.tables import ANNOUNCEMENTS

_ROWS = ANNOUNCEMENTS.c


class SqlAnnouncements:
    """The announcements."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, announcement: Announcement) -> None:
        fixed = {"tenant": announcement.tenant, "id": announcement.id, "created_at": announcement.create_time}
        await self._session.execute(insert(ANNOUNCEMENTS).values(**fixed, **_row(announcement)))

    async def get(self, tenant: str, announcement: str, *, lock: bool = False) -> Announcement | None:
        statement = select(ANNOUNCEMENTS).where(_is(tenant, announcement))
        row = (await self._session.execute(for_update(statement) if lock else statement)).mappings().one_or_none()
        return _announcement(row) if row else None

    async def update(self, announcement: Announcement) -> None:
        mine = _is(announcement.tenant, announcement.id)
        await self._session.execute(update(ANNOUNCEMENTS).where(mine).values(**_row(announcement)))

    async def delete(self, tenant: str, announcement: str) -> None:
        await self._session.execute(delete(ANNOUNCEMENTS).where(_is(tenant, announcement)))

    async def all(self, tenant: str, page: PageRequest) -> Page[Announcement]:
        paged = keyset(select(ANNOUNCEMENTS).where(_ROWS.tenant == tenant), page, _ROWS.created_at, _ROWS.id)
        found = [_announcement(row) for row in (await self._session.execute(paged)).mappings()]
        return page.cut(found, lambda one: Cursor(one.create_time, one.id))

    async def shown(self, tenant: str, now: datetime, page: PageRequest) -> Page[Announcement]:
        moment = literal(now, UtcDateTime())
        wanted = select(ANNOUNCEMENTS).where(
            _ROWS.tenant == tenant,
            or_(_ROWS.start_at.is_(None), _ROWS.start_at <= moment),
            or_(_ROWS.end_at.is_(None), _ROWS.end_at > moment),
        )
        if page.after is not None:
            wanted = wanted.where(_behind(page.after))
        ordered = wanted.order_by(_ROWS.severity.desc(), _ROWS.created_at.desc(), _ROWS.id.desc())
        rows = (await self._session.execute(ordered.limit(page.size + 1))).mappings()
        found = [_announcement(row) for row in rows]
        # The order has one key more than a cursor: it stands before the id.
        return page.cut(found, lambda one: Cursor(one.create_time, f"{one.severity:d}:{one.id}"))


def _behind(after: Cursor) -> ColumnElement[bool]:
    severity, _, row_id = after.id.partition(":")
    level, moment = int(severity), literal(after.created_at, UtcDateTime())
    earlier = or_(_ROWS.created_at < moment, and_(_ROWS.created_at == moment, _ROWS.id < row_id))
    return and_(_ROWS.severity <= level, or_(_ROWS.severity < level, earlier))


def _is(tenant: str, announcement: str) -> ColumnElement[bool]:
    return and_(_ROWS.tenant == tenant, _ROWS.id == announcement)


def _row(announcement: Announcement) -> dict[str, Any]:
    return {
        "title": announcement.title,
        "body": announcement.body,
        "severity": int(announcement.severity),
        "start_at": announcement.start_time,
        "end_at": announcement.end_time,
        "updated_at": announcement.update_time,
        "version": announcement.version,
    }


def _announcement(row: RowMapping) -> Announcement:
    return Announcement(
        tenant=row["tenant"],
        id=row["id"],
        title=row["title"],
        body=row["body"],
        severity=Severity(row["severity"]),
        create_time=row["created_at"],
        update_time=row["updated_at"],
        start_time=row["start_at"],
        end_time=row["end_at"],
        version=row["version"],
    )
