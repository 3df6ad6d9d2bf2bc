"""The SQL of a page: everything after a sort key, newest first, by index and never by OFFSET."""

from datetime import datetime
from typing import TypeVarTuple

from sqlalchemy import ColumnElement, Select, and_, literal, or_
from sqlalchemy.orm import InstrumentedAttribute

from services.kit.paging import PageRequest
from services.kit.types import UtcDateTime

RowT = TypeVarTuple("RowT")
_Moment = ColumnElement[datetime] | InstrumentedAttribute[datetime]
_Text = ColumnElement[str] | InstrumentedAttribute[str]


def keyset(statement: Select[*RowT], page: PageRequest, created_at: _Moment, row_id: _Text) -> Select[*RowT]:
    """Return the select of a page and one row more; an index on (tenant, …, created_at, id) makes it one short scan."""
    if page.after is not None:
        moment = literal(page.after.created_at, UtcDateTime())
        # The same as (created_at, id) < (…, …), spelt so that MariaDB too walks the index from there on.
        same_moment_or_before = and_(created_at <= moment, or_(created_at < moment, row_id < page.after.id))
        statement = statement.where(same_moment_or_before)
    return statement.order_by(created_at.desc(), row_id.desc()).limit(page.size + 1)
