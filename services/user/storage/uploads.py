"""Uploads that are not complete, and objects that no piece names, in SQL."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, insert, select, update
from sqlalchemy.engine import CursorResult, RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.database import for_update
from services.user.domain.files import Owner, Upload
from services.user.ports.files import Stray
from services.user.storage.files import affected, give_up_pieces
from services.user.storage.tables import FILE_PIECES, STRAY_OBJECTS, UPLOADS


class SqlUploads:
    """The uploads."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, upload: Upload) -> None:
        await self._session.execute(
            insert(UPLOADS).values(
                tenant=upload.owner.tenant,
                user_id=upload.owner.user,
                id=upload.id,
                filename=upload.filename,
                size_bytes=upload.size,
                received_bytes=upload.received,
                pieces=upload.pieces,
                created_at=upload.create_time,
                expires_at=upload.expire_time,
            )
        )

    async def get(self, owner: Owner, upload: str, now: datetime, *, lock: bool = False) -> Upload | None:
        wanted = select(UPLOADS).where(_is(owner, upload), UPLOADS.c.expires_at > now)
        row = (await self._session.execute(for_update(wanted) if lock else wanted)).mappings().one_or_none()
        return _upload(row) if row else None

    async def update(self, upload: Upload) -> None:
        changed = update(UPLOADS).where(_is(upload.owner, upload.id))
        await self._session.execute(
            changed.values(received_bytes=upload.received, pieces=upload.pieces, expires_at=upload.expire_time)
        )

    async def finish(self, upload: Upload) -> None:
        await self._session.execute(delete(UPLOADS).where(_is(upload.owner, upload.id)))

    async def delete(self, upload: Upload, now: datetime) -> bool:
        # As it was read: a piece that arrives while a sweep looks at an old upload gives it another day.
        same = and_(_is(upload.owner, upload.id), UPLOADS.c.expires_at == upload.expire_time)
        if not await affected(self._session, delete(UPLOADS).where(same)):
            return False
        owner, pieces = upload.owner, FILE_PIECES.c
        held = and_(pieces.tenant == owner.tenant, pieces.user_id == owner.user, pieces.file_id == upload.id)
        await give_up_pieces(self._session, held, now)
        return True

    async def expired(self, now: datetime, limit: int) -> list[Upload]:
        query = select(UPLOADS).where(UPLOADS.c.expires_at <= now).order_by(UPLOADS.c.expires_at).limit(limit)
        return [_upload(row) for row in (await self._session.execute(query)).mappings()]


class SqlStrays:
    """The objects that no piece names."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def expect(self, stray: Stray, due: datetime) -> None:
        owner = stray.owner
        row = {"tenant": owner.tenant, "user_id": owner.user, "object": stray.object, "due_at": due, "given_up": False}
        await self._session.execute(insert(STRAY_OBJECTS).values(row))

    async def take(self, stray: Stray) -> bool:
        waiting = delete(STRAY_OBJECTS).where(_same(stray), STRAY_OBJECTS.c.given_up.is_(False))
        return await affected(self._session, waiting) > 0

    async def give_up(self, stray: Stray) -> None:
        await self._session.execute(update(STRAY_OBJECTS).where(_same(stray)).values(given_up=True))

    async def give_up_due(self, now: datetime) -> int:
        columns = STRAY_OBJECTS.c
        overdue = and_(columns.given_up.is_(False), columns.due_at <= now)
        result = await self._session.execute(update(STRAY_OBJECTS).where(overdue).values(given_up=True))
        return result.rowcount if isinstance(result, CursorResult) else 0

    async def given_up(self, limit: int) -> list[Stray]:
        columns = STRAY_OBJECTS.c
        query = select(columns.tenant, columns.user_id, columns.object).where(columns.given_up.is_(True))
        rows = await self._session.execute(query.order_by(columns.due_at).limit(limit))
        return [Stray(Owner(tenant, user), name) for tenant, user, name in rows]

    async def forget(self, strays: Sequence[Stray]) -> None:
        for stray in strays:
            await self._session.execute(delete(STRAY_OBJECTS).where(_same(stray), STRAY_OBJECTS.c.given_up.is_(True)))


def _is(owner: Owner, upload: str) -> ColumnElement[bool]:
    columns = UPLOADS.c
    return and_(columns.tenant == owner.tenant, columns.user_id == owner.user, columns.id == upload)


def _same(stray: Stray) -> ColumnElement[bool]:
    columns, owner = STRAY_OBJECTS.c, stray.owner
    return and_(columns.tenant == owner.tenant, columns.user_id == owner.user, columns.object == stray.object)


def _upload(row: RowMapping) -> Upload:
    return Upload(
        owner=Owner(row["tenant"], row["user_id"]),
        id=row["id"],
        filename=row["filename"],
        size=row["size_bytes"],
        received=row["received_bytes"],
        pieces=row["pieces"],
        create_time=row["created_at"],
        expire_time=row["expires_at"],
    )
