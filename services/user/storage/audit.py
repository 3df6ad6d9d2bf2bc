"""The chained audit log in SQL."""

from collections.abc import AsyncIterator
from dataclasses import asdict

from sqlalchemy import insert, select, union, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.database import for_update
from services.kit.errors import DataLoss
from services.user.domain.audit import Entry, Event, Head, linked
from services.user.storage.statements import insert_if_absent
from services.user.storage.tables import AUDIT_ENTRIES, AUDIT_HEADS

_PAGE = 500


class SqlAuditTrail:
    """The chains, one per tenant. Appending locks the chain's head until the transaction ends, so append last."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def append(self, event: Event) -> Entry:
        entry = linked(await self._locked_head(event.tenant), event)
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

    async def walk(self, tenant: str) -> AsyncIterator[Entry]:
        entries = AUDIT_ENTRIES.c
        after: int | None = None
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


def _entry(row: RowMapping) -> Entry:
    entry = Entry(**row)
    if not all(isinstance(part, bytes) for part in (entry.previous, entry.seal)):
        raise TypeError("a seal is bytes")
    return entry
