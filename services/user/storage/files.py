"""Files, their pieces and the space they take, in SQL."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, insert, literal, or_, select, true, update
from sqlalchemy.engine import CursorResult, RowMapping
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import Delete

from services.kit.database import for_update
from services.kit.paging import Cursor, Page, PageRequest
from services.kit.paging_sql import keyset
from services.kit.statements import insert_if_absent
from services.kit.types import UtcDateTime
from services.user.domain.files import File, Owner, Piece, Space
from services.user.storage.tables import FILE_PIECES, FILE_SPACE, FILES, STRAY_OBJECTS, UPLOADS, USERS


class SqlFiles:
    """The files."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock_space(self, owner: Owner) -> Space | None:
        # The account's row is the lock: an erasure takes it, too, and a space that has no row yet cannot be locked.
        account = select(USERS.c.id).where(USERS.c.tenant == owner.tenant, USERS.c.id == owner.user)
        if (await self._session.execute(for_update(account))).scalar_one_or_none() is None:
            return None
        columns = FILE_SPACE.c
        found = for_update(select(columns.used_bytes, columns.files).where(_own(FILE_SPACE, owner)))
        row = (await self._session.execute(found)).one_or_none()
        return Space(*row) if row else Space()

    async def save_space(self, owner: Owner, space: Space) -> None:
        key = {"tenant": owner.tenant, "user_id": owner.user}
        values = {"used_bytes": space.used, "files": space.count}
        await insert_if_absent(self._session, FILE_SPACE, {**key, "used_bytes": 0, "files": 0})
        await self._session.execute(update(FILE_SPACE).where(_own(FILE_SPACE, owner)).values(**values))

    async def add(self, file: File) -> None:
        await self._session.execute(insert(FILES).values(**_file_row(file)))

    async def get(self, owner: Owner, file: str, now: datetime) -> File | None:
        wanted = select(FILES).where(_own(FILES, owner), FILES.c.id == file, _living(now))
        row = (await self._session.execute(wanted)).mappings().one_or_none()
        return _file(row) if row else None

    async def page(self, owner: Owner, prefix: str, now: datetime, wanted: PageRequest) -> Page[File]:
        # Types are stored in lower case; LIKE does not tell the cases apart on every database.
        kind = FILES.c.content_type.startswith(prefix.lower(), autoescape=True) if prefix else true()
        query = select(FILES).where(_own(FILES, owner), _living(now), kind)
        rows = await self._session.execute(keyset(query, wanted, FILES.c.created_at, FILES.c.id))
        return wanted.cut([_file(row) for row in rows.mappings()], lambda file: Cursor(file.create_time, file.id))

    async def pieces(self, owner: Owner, holder: str) -> list[Piece]:
        columns = FILE_PIECES.c
        wanted = (columns.number, columns.offset_bytes, columns.size_bytes, columns.object, columns.skip_bytes)
        query = select(*wanted).where(_held(owner, holder)).order_by(columns.number)
        return [Piece(*row) for row in await self._session.execute(query)]

    async def add_piece(self, owner: Owner, holder: str, piece: Piece) -> None:
        await self._session.execute(
            insert(FILE_PIECES).values(
                tenant=owner.tenant,
                user_id=owner.user,
                file_id=holder,
                number=piece.number,
                offset_bytes=piece.offset,
                size_bytes=piece.size,
                object=piece.object,
                skip_bytes=piece.skip,
            )
        )

    async def delete(self, file: File, now: datetime) -> bool:
        gone = delete(FILES).where(_own(FILES, file.owner), FILES.c.id == file.id)
        if not await affected(self._session, gone):
            return False
        await give_up_pieces(self._session, _held(file.owner, file.id), now)
        return True

    async def expired(self, now: datetime, limit: int) -> list[File]:
        query = select(FILES).where(FILES.c.expires_at <= now).order_by(FILES.c.expires_at).limit(limit)
        return [_file(row) for row in (await self._session.execute(query)).mappings()]

    async def erase(self, owner: Owner, now: datetime) -> int:
        # Uploads first: a piece that is just being added holds its upload's row, and is seen once that is had.
        for table in (UPLOADS, FILES, FILE_SPACE):
            await self._session.execute(delete(table).where(_own(table, owner)))
        return await give_up_pieces(self._session, _own(FILE_PIECES, owner), now)


async def give_up_pieces(session: AsyncSession, which: ColumnElement[bool], now: datetime) -> int:
    """Remove pieces and have their objects deleted; return how many there were."""
    columns, strays = FILE_PIECES.c, STRAY_OBJECTS.c
    objects = select(columns.tenant, columns.user_id, columns.object, literal(now, UtcDateTime()), literal(True)).where(
        which
    )
    names = [strays.tenant, strays.user_id, strays.object, strays.due_at, strays.given_up]
    await session.execute(insert(STRAY_OBJECTS).from_select(names, objects))
    return await affected(session, delete(FILE_PIECES).where(which))


async def affected(session: AsyncSession, statement: Delete) -> int:
    """Execute a deletion and return how many rows it took."""
    result = await session.execute(statement)
    return result.rowcount if isinstance(result, CursorResult) else 0


def _own(table: Any, owner: Owner) -> ColumnElement[bool]:
    return and_(table.c.tenant == owner.tenant, table.c.user_id == owner.user)


def _held(owner: Owner, holder: str) -> ColumnElement[bool]:
    return and_(_own(FILE_PIECES, owner), FILE_PIECES.c.file_id == holder)


def _living(now: datetime) -> ColumnElement[bool]:
    return or_(FILES.c.expires_at.is_(None), FILES.c.expires_at > now)


def _file_row(file: File) -> dict[str, Any]:
    return {
        "tenant": file.owner.tenant,
        "user_id": file.owner.user,
        "id": file.id,
        "filename": file.filename,
        "content_type": file.content_type,
        "size_bytes": file.size,
        "sha256": file.sha256,
        "created_at": file.create_time,
        "expires_at": file.expire_time,
        "origin": file.origin,
    }


def _file(row: RowMapping) -> File:
    return File(
        owner=Owner(row["tenant"], row["user_id"]),
        id=row["id"],
        filename=row["filename"],
        content_type=row["content_type"],
        size=row["size_bytes"],
        sha256=row["sha256"],
        create_time=row["created_at"],
        expire_time=row["expires_at"],
        origin=row["origin"],
    )
