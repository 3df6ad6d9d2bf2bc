"""The chained audit log in SQL."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import datetime
from urllib.parse import unquote

from opentelemetry import trace
from sqlalchemy import insert, select, union, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.call import call_or_none
from services.kit.database import for_update
from services.kit.errors import DataLoss
from services.kit.paging import Page, PageRequest
from services.kit.statements import insert_if_absent
from services.user.domain.audit import Circumstances, Entry, Event, Head, Search, linked
from services.user.storage.audit_search import search_entries
from services.user.storage.tables import AUDIT_ENTRIES, AUDIT_HEADS

_PAGE = 500
_MAX_PEER = 64


class SqlAuditTrail:
    """The chains, one per tenant. Appending locks the chain's head until the transaction ends, so append last."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def append(self, event: Event) -> Entry:
        entry = linked(await self._locked_head(event.tenant), event, _circumstances())
        await self._session.execute(insert(AUDIT_ENTRIES).values(**asdict(entry)))
        heads = AUDIT_HEADS.c
        moved = update(AUDIT_HEADS).where(heads.tenant == entry.tenant).values(seq=entry.seq, seal=entry.seal)
        await self._session.execute(moved)
        return entry

    async def _locked_head(self, tenant: str) -> Head:
        head = await self._head(tenant, lock=True)
        if head is None:
            new = Head(tenant)
            await insert_if_absent(self._session, AUDIT_HEADS, {"tenant": tenant, "seq": new.seq, "seal": new.seal})
            head = await self._head(tenant, lock=True)
        if head is None:
            raise DataLoss("the head of the audit chain vanished while it was locked")
        return head

    async def head(self, tenant: str) -> Head | None:
        return await self._head(tenant, lock=False)

    async def _head(self, tenant: str, *, lock: bool) -> Head | None:
        statement = select(AUDIT_HEADS).where(AUDIT_HEADS.c.tenant == tenant)
        row = (await self._session.execute(for_update(statement) if lock else statement)).mappings().one_or_none()
        return Head(row["tenant"], row["seq"], row["seal"]) if row else None

    async def tenants(self) -> list[str]:
        both = union(select(AUDIT_HEADS.c.tenant), select(AUDIT_ENTRIES.c.tenant)).order_by("tenant")
        return list((await self._session.execute(both)).scalars())

    async def search(self, tenant: str, wanted: Search, page: PageRequest) -> Page[Entry]:
        return await search_entries(self._session, tenant, wanted, page)

    async def first_since(self, tenant: str, time: datetime) -> Entry | None:
        entries = AUDIT_ENTRIES.c
        since = select(AUDIT_ENTRIES).where(entries.tenant == tenant, entries.time >= time)
        row = (await self._session.execute(since.order_by(entries.time, entries.seq).limit(1))).mappings().one_or_none()
        return _entry(row) if row else None

    async def walk(self, tenant: str, after: int | None = None) -> AsyncIterator[Entry]:
        entries = AUDIT_ENTRIES.c
        while True:
            statement = select(AUDIT_ENTRIES).where(entries.tenant == tenant).order_by(entries.seq).limit(_PAGE)
            if after is not None:
                statement = statement.where(entries.seq > after)
            try:
                page = [_entry(row) for row in (await self._session.execute(statement)).mappings()]
            except (ValueError, TypeError) as error:  # SQLite takes any value into any column
                raise DataLoss("an entry near here holds a value that cannot be read") from error
            for entry in page:
                yield entry
            if len(page) < _PAGE:
                return
            after = page[-1].seq


def _circumstances() -> Circumstances:
    """Return which call writes the entry. Taken from the call itself, so that no use case can forget to say it."""
    call = call_or_none()
    if call is None:
        return Circumstances()
    span = trace.get_current_span().get_span_context()
    peer = _host(call.peer)
    return Circumstances(call.method.lstrip("/"), peer, trace.format_trace_id(span.trace_id) if span.is_valid else "")


def _host(peer: str) -> str:
    """Return the address in gRPC's name of a peer (`ipv4:127.0.0.1:4321`, `ipv6:%5B::1%5D:4321`), without its port."""
    kind, _, address = unquote(peer).partition(":")
    return address.rpartition(":")[0].strip("[]")[:_MAX_PEER] if kind in ("ipv4", "ipv6") else kind[:_MAX_PEER]


def _entry(row: RowMapping) -> Entry:
    entry = Entry(**row)
    if not all(isinstance(part, bytes) for part in (entry.previous, entry.seal)):
        raise TypeError("a seal is bytes")
    if not isinstance(entry.format, int):
        raise TypeError("a format is a number")
    return entry
