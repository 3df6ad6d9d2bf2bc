"""Column types and table conventions that mean the same on every database."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from weakref import WeakSet

from sqlalchemy import JSON, DateTime, LargeBinary, MetaData, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

# Constraints get predictable names, because a constraint without a name cannot be dropped by a later migration.
_NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

Id = String(64)
"""An id of ours (services/kit/ids.py makes 26 characters) or a tenant's."""

Digest = LargeBinary(32)
"""A SHA-256."""

Json = JSON().with_variant(JSONB(), "postgresql")
"""JSON; indexable on PostgreSQL."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: timezone-aware in, UTC out, microseconds kept. A naive datetime is refused with ValueError.

    SQLite and MariaDB store moments without a zone, so the value is turned to UTC before it goes in and marked as UTC
    when it comes out; what is stored sorts like the moments. PostgreSQL has `timestamptz`.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time needs a timezone; use the clock's now()")
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# For `type_annotation_map` of a service's declarative base: `Mapped[datetime]` is then always a UTC moment.
TYPE_MAP: dict[Any, Any] = {datetime: UtcDateTime(), dict[str, Any]: Json}


_KNOWN: WeakSet[MetaData] = WeakSet()


def new_metadata() -> MetaData:
    """Return the MetaData of one service's database, with the naming convention that its migrations rely on."""
    metadata = MetaData(naming_convention=_NAMING)
    _KNOWN.add(metadata)
    return metadata


def known_metadata() -> Iterator[MetaData]:
    """Return every MetaData made here: MariaDB names the key that a row collides with, these know its columns."""
    return iter(_KNOWN)


class Tenanted:
    """The column that every table has: whose row it is."""

    tenant: Mapped[str] = mapped_column(Id, nullable=False)
