"""Searching the audit log in SQL: newest first, by the entries' numbers.

What an index leads to (an actor, a target, a resource) is read along that index. Everything else is looked for in a
bounded number of entries for each page, which then says where the next page goes on, be it without a single match.
"""

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.paging import Cursor, Page, PageRequest
from services.user.domain.audit import Entry, Search
from services.user.storage.tables import AUDIT_ENTRIES

WINDOW = 20_000
_ENTRIES = AUDIT_ENTRIES.c
# Numbers and times do not grow quite alike: processes' clocks differ, and an entry waits for its number after its time.
_SLACK = 5_000
_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)


async def search_entries(
    session: AsyncSession, tenant: str, wanted: Search, page: PageRequest, window: int = WINDOW
) -> Page[Entry]:
    """Return a page of a tenant's entries, the newest first; a cursor's id is a number, its time means nothing."""
    lowest, below = await _bounds(session, tenant, wanted, page)
    indexed = wanted.actor or wanted.target or wanted.resource
    floor = lowest if indexed else max(lowest, below - window)
    statement = select(AUDIT_ENTRIES).where(
        _ENTRIES.tenant == tenant, _ENTRIES.seq < below, _ENTRIES.seq >= floor, *_conditions(wanted)
    )
    ordered = statement.order_by(_ENTRIES.seq.desc()).limit(page.size + 1)
    found = [Entry(**row) for row in (await session.execute(ordered)).mappings()]
    if len(found) > page.size or floor <= lowest:
        return page.cut(found, lambda entry: Cursor(_ANY_TIME, str(entry.seq)))
    return Page(found, Cursor(_ANY_TIME, str(floor)))


async def _bounds(session: AsyncSession, tenant: str, wanted: Search, page: PageRequest) -> tuple[int, int]:
    """Return the lowest number that may be wanted, and the number that all wanted ones are below."""
    mine = _ENTRIES.tenant == tenant
    if page.after is not None:
        below = int(page.after.id)
    else:
        below = (await session.execute(select(func.max(_ENTRIES.seq)).where(mine))).scalar_one() or 0
        below += 1
    lowest = 1
    if wanted.start is not None:
        earliest = select(_ENTRIES.seq).where(mine, _ENTRIES.time >= wanted.start).order_by(_ENTRIES.time).limit(1)
        found = (await session.execute(earliest)).scalar_one_or_none()
        lowest = below if found is None else max(1, found - _SLACK)
    if wanted.end is not None:
        latest = select(_ENTRIES.seq).where(mine, _ENTRIES.time < wanted.end).order_by(_ENTRIES.time.desc()).limit(1)
        found = (await session.execute(latest)).scalar_one_or_none()
        below = lowest if found is None else min(below, found + _SLACK)
    return lowest, below


def _conditions(wanted: Search) -> list[ColumnElement[bool]]:
    exact = ((name, getattr(wanted, name)) for name in ("actor", "target", "resource", "action"))
    conditions = [_ENTRIES[name] == value for name, value in exact if value]
    if wanted.method:
        conditions.append(_ENTRIES.method.contains(wanted.method, autoescape=True))
    if wanted.outcome is not None:
        conditions.append(_ENTRIES.outcome == wanted.outcome.value)
    if wanted.start is not None:
        conditions.append(_ENTRIES.time >= wanted.start)
    if wanted.end is not None:
        conditions.append(_ENTRIES.time < wanted.end)
    return conditions
