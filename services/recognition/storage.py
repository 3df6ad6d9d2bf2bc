"""The history in SQL: one row a recognition, its document compressed beside it."""

import json
import zlib
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Float, Index, Integer, LargeBinary, String, and_, delete, select
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, defer, mapped_column

from services.kit.idempotency_sql import claims_table
from services.kit.paging import Cursor, PageRequest
from services.kit.paging import Page as PageOf
from services.kit.paging_sql import keyset
from services.kit.shard_homes import homes_table
from services.kit.sharding_move import UserTable
from services.kit.types import TYPE_MAP, Id, Json, Tenanted, UtcDateTime, new_metadata
from services.kit.uow_sql import Scope, SqlTx
from services.recognition.domain.documents import (
    Block,
    Box,
    Character,
    Document,
    Kind,
    Line,
    Page,
    Point,
    Recognition,
    Source,
    Word,
)

_ALL_TENANTS = "*"


class Base(DeclarativeBase):
    """The service's tables."""

    metadata = new_metadata()
    type_annotation_map = TYPE_MAP


request_claims = claims_table(Base.metadata)
shard_homes = homes_table(Base.metadata)


class RecognitionRow(Tenanted, Base):
    """One recognition. The key begins with tenant and user, so that a user's rows lie together and can move."""

    __tablename__ = "recognitions"
    __table_args__ = (Index("ix_recognitions_newest", "tenant", "user_id", "create_time", "id"),)

    tenant: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, primary_key=True)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    content_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    page_count: Mapped[int] = mapped_column(Integer)
    models: Mapped[list[str]] = mapped_column(Json)
    processing_us: Mapped[int] = mapped_column(BigInteger)
    confidence: Mapped[float] = mapped_column(Float)
    document: Mapped[bytes] = mapped_column(LargeBinary)


def user_tables() -> list[UserTable]:
    """Return the tables whose rows belong to one user each, as a move to another shard needs them."""
    recognitions = RecognitionRow.metadata.tables[RecognitionRow.__tablename__]
    claims = request_claims.c
    return [
        UserTable(recognitions, lambda user: _owned(user.tenant, user.id), batch=50),  # documents are large
        UserTable(request_claims, lambda user: and_(claims.tenant == user.tenant, claims.scope == f"u:{user.id}")),
    ]


class SqlHistory:
    """The history port over one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, tenant: str, user: str, recognition: Recognition) -> None:
        self._session.add(_row(tenant, user, recognition))
        await self._session.flush()

    async def get(self, tenant: str, user: str, recognition_id: str, *, full: bool) -> Recognition | None:
        query = select(RecognitionRow).where(_owned(tenant, user), RecognitionRow.id == recognition_id)
        row = await self._session.scalar(query if full else query.options(defer(RecognitionRow.document)))
        return None if row is None else _recognition(row, full=full)

    async def page(self, tenant: str, user: str, wanted: PageRequest) -> PageOf[Recognition]:
        query = select(RecognitionRow).where(_owned(tenant, user))
        query = keyset(query, wanted, RecognitionRow.create_time, RecognitionRow.id)
        rows = await self._session.scalars(query.options(defer(RecognitionRow.document)))
        found = [_recognition(row, full=False) for row in rows]
        return wanted.cut(found, lambda recognition: Cursor(recognition.create_time, recognition.id))

    async def erase(self, tenant: str, user: str) -> int:
        gone = await self._session.execute(delete(RecognitionRow).where(_owned(tenant, user)))
        return gone.rowcount if isinstance(gone, CursorResult) else 0

    async def delete(self, tenant: str, user: str, recognition_id: str) -> bool:
        gone = await self._session.execute(
            delete(RecognitionRow).where(_owned(tenant, user), RecognitionRow.id == recognition_id)
        )
        return isinstance(gone, CursorResult) and gone.rowcount > 0


class ErasureProgressRow(Tenanted, Base):
    """How far the mesh's list of erased users was followed. The list is one for all tenants: the tenant is `*`."""

    __tablename__ = "erasure_progress"

    tenant: Mapped[str] = mapped_column(Id, primary_key=True)
    followed_until: Mapped[datetime] = mapped_column(UtcDateTime)


class SqlErasureProgress:
    """The erasure progress port over one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self) -> datetime | None:
        row = await self._session.get(ErasureProgressRow, _ALL_TENANTS)
        return None if row is None else row.followed_until

    async def set(self, time: datetime) -> None:
        await self._session.merge(ErasureProgressRow(tenant=_ALL_TENANTS, followed_until=time))


class SqlRecognitionTx(SqlTx):
    """The service's unit of work."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.history = SqlHistory(scope.session)
        self.erasure_progress = SqlErasureProgress(scope.session)


def _owned(tenant: str, user: str) -> ColumnElement[bool]:
    return and_(RecognitionRow.tenant == tenant, RecognitionRow.user_id == user)


def _row(tenant: str, user: str, recognition: Recognition) -> RecognitionRow:
    return RecognitionRow(
        tenant=tenant,
        user_id=user,
        id=recognition.id,
        kind=recognition.kind.value,
        create_time=recognition.create_time,
        content_type=recognition.source.content_type,
        size_bytes=recognition.source.size_bytes,
        sha256=recognition.source.sha256,
        page_count=recognition.source.page_count,
        models=list(recognition.models),
        processing_us=recognition.processing_time // timedelta(microseconds=1),
        confidence=recognition.confidence,
        document=pack(recognition.document) if recognition.document else b"",
    )


def _recognition(row: RecognitionRow, *, full: bool) -> Recognition:
    return Recognition(
        id=row.id,
        kind=Kind(row.kind),
        create_time=row.create_time,
        source=Source(row.content_type, row.size_bytes, row.sha256, row.page_count),
        models=tuple(row.models),
        processing_time=timedelta(microseconds=row.processing_us),
        confidence=row.confidence,
        document=unpack(row.document) if full and row.document else None,
    )


def pack(document: Document) -> bytes:
    """Return a document as compressed JSON of its dataclasses."""
    return zlib.compress(json.dumps(asdict(document), ensure_ascii=False, separators=(",", ":")).encode())


def unpack(packed: bytes) -> Document:
    """Return what `pack` was given."""
    return Document(tuple(_page(page) for page in json.loads(zlib.decompress(packed))["pages"]))


def _page(d: dict[str, Any]) -> Page:
    return Page(d["number"], d["width"], d["height"], tuple(Block(tuple(map(_line, b["lines"]))) for b in d["blocks"]))


def _line(d: dict[str, Any]) -> Line:
    return Line(_box(d["box"]), tuple(_word(word) for word in d["words"]))


def _word(d: dict[str, Any]) -> Word:
    characters = tuple(Character(c["text"], c["confidence"], _box(c["box"])) for c in d["characters"])
    return Word(d["text"], d["confidence"], _box(d["box"]), characters)


def _box(d: dict[str, Any]) -> Box:
    corners = (d[name] for name in ("top_left", "top_right", "bottom_right", "bottom_left"))
    return Box(*(Point(corner["x"], corner["y"]) for corner in corners))
