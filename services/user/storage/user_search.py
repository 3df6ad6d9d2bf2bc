"""Searching accounts in SQL.

A part of a text is found by reading accounts, whatever the index: so one page reads a bounded number of them, in the
order of the list, and says where the next page goes on, be it without a single match.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.paging import Cursor, Page, PageRequest
from services.kit.paging_sql import keyset
from services.user.domain.accounts import User, UserSearch, folded
from services.user.storage.tables import USERS
from services.user.storage.user_rows import user_of

WINDOW = 20_000
_USERS = USERS.c


async def search_users(
    session: AsyncSession, tenant: str, wanted: UserSearch, page: PageRequest, window: int = WINDOW
) -> Page[User]:
    """Return a page of a tenant's accounts, the newest first; reads `window` of them at most."""
    end = await _window_end(session, tenant, page, window) if wanted.filters else None
    matching = select(USERS).where(_USERS.tenant == tenant, *_conditions(wanted))
    if end is not None:
        matching = matching.where(_not_behind(end))
    paged = keyset(matching, page, _USERS.created_at, _USERS.id)
    found = [user_of(row) for row in (await session.execute(paged)).mappings()]
    if end is None or len(found) > page.size:
        return page.cut(found, lambda user: Cursor(user.create_time, user.id))
    return Page(found, end)


async def _window_end(session: AsyncSession, tenant: str, page: PageRequest, window: int) -> Cursor | None:
    """Return the last account to read for this page, None when the list ends before."""
    keys: Select[datetime, str] = select(_USERS.created_at, _USERS.id).where(_USERS.tenant == tenant)
    ordered = keyset(keys, page, _USERS.created_at, _USERS.id)
    row = (await session.execute(ordered.offset(window - 1).limit(1))).one_or_none()
    return Cursor(row[0], row[1]) if row else None


def _not_behind(end: Cursor) -> ColumnElement[bool]:
    same = and_(_USERS.created_at == end.created_at, _USERS.id >= end.id)
    return and_(_USERS.created_at >= end.created_at, or_(_USERS.created_at > end.created_at, same))


def _conditions(wanted: UserSearch) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.query:
        conditions.append(_USERS.search_text.contains(folded(wanted.query), autoescape=True))
    if wanted.role is not None:
        conditions.append(_USERS.role == wanted.role.value)
    if wanted.state is not None:
        conditions.append(_USERS.state == wanted.state.value)
    if wanted.plan:
        conditions.append(_USERS.plan == wanted.plan)
    return conditions
