"""The SQL of a page: everything after a sort key, newest first, by index and never by OFFSET."""

from datetime import datetime
from typing import TypeVarTuple

from sqlalchemy import ColumnElement, Select, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from services.kit.paging import PageRequest
from services.kit.types import UtcDateTime

RowT = TypeVarTuple("RowT")
_Moment = ColumnElement[datetime] | InstrumentedAttribute[datetime]
_Text = ColumnElement[str] | InstrumentedAttribute[str]


def keyset(statement: Select[*RowT], page: PageRequest, created_at: _Moment, row_id: _Text) -> Select[*RowT]:
    """Return the select of a page and one row more; an index on (tenant, …, created_at, id) makes it one short scan."""
    if page.after is not None:
        last = tuple_(literal(page.after.created_at, UtcDateTime()), literal(page.after.id))
        statement = statement.where(tuple_(created_at, row_id) < last)
    return statement.order_by(created_at.desc(), row_id.desc()).limit(page.size + 1)
