"""Erasures in SQL."""

from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.paging import Cursor, Page, PageRequest
from services.kit.paging_sql import keyset
from services.user.domain.erasures import Erasure
from services.user.storage.tables import ERASURES


class SqlErasureLog:
    """The erasures of all tenants."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, erasure: Erasure) -> None:
        row = {"tenant": erasure.tenant, "user_id": erasure.user, "erased_at": erasure.time}
        await self._session.execute(insert(ERASURES).values(row))

    async def after(self, time: datetime | None, page: PageRequest) -> Page[Erasure]:
        table = ERASURES.c
        wanted = select(table.tenant, table.user_id, table.erased_at)
        if time is not None:
            wanted = wanted.where(table.erased_at > time)
        rows = await self._session.execute(keyset(wanted, page, table.erased_at, table.user_id))
        return page.cut([Erasure(*row) for row in rows], lambda erasure: Cursor(erasure.time, erasure.user))
