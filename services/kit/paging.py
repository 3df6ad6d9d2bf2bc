"""Pages of lists (AIP-158): sizes, opaque tokens, and where a page ends.

A page ends at a row, not at a number: the token holds the last row's sort key (its time and its id), so rows that come
or go in between neither repeat nor hide others. The token is signed for its list, caller, filter and order; any other
use of it is refused.

    listing = Listing("recognitions", caller.tenant, caller.user, filter=request.filter)               # api.py
    page = await list_recognitions(call, units, self.tokens.read(request.page_size, request.page_token, listing))
    return pb.ListRecognitionsResponse(recognitions=…, next_page_token=self.tokens.write(page.next, listing))

    rows = await session.execute(keyset(select(TABLE).where(…), page, TABLE.c.created_at, TABLE.c.id))  # storage.py
    return page.cut([recognition(row) for row in rows], lambda item: Cursor(item.created_at, item.id))
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from services.kit.errors import FieldViolation, InvalidArgument

DEFAULT_SIZE = 50
MAX_SIZE = 1000
_VERSION = b"\x01"
_MAC_BYTES = 16
_TIME_END = 1 + _MAC_BYTES + 8
_MAX_TOKEN = 512
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The sort key of a row: lists are newest first, rows of one moment by descending id."""

    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """Some rows of a list and where the next page begins, None at the end of the list."""

    items: Sequence[ItemT]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """How many rows are wanted (1 to 1000), and after which."""

    size: int = DEFAULT_SIZE
    after: Cursor | None = None

    def cut(self, items: Sequence[ItemT], cursor: Callable[[ItemT], Cursor]) -> Page[ItemT]:
        """Make the page of what `keyset` found: one row more than the page holds says that there is another page."""
        if len(items) <= self.size:
            return Page(items, None)
        kept = items[: self.size]
        return Page(kept, cursor(kept[-1]))


@dataclass(frozen=True, slots=True)
class Listing:
    """What a token is good for: one list of one caller, with one filter in one order."""

    name: str
    tenant: str
    user: str
    filter: str = ""
    order: str = ""

    def encoded(self) -> bytes:
        """Return the parts unambiguously: each with its length before it."""
        parts = (part.encode() for part in (self.name, self.tenant, self.user, self.filter, self.order))
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class PageTokens:
    """Reads and writes the page tokens of a service; all its processes need the same key."""

    def __init__(self, key: bytes) -> None:
        """Sign with `key`, for example `derived_key(envelope key, "page tokens")`. ValueError under 16 bytes."""
        if len(key) < _MAC_BYTES:
            raise ValueError("page tokens need a key of 16 bytes or more")
        self._key = key

    def read(self, page_size: int, page_token: str, listing: Listing) -> PageRequest:
        """Return the page that a request asks for.

        A size of 0 means 50, one above 1000 means 1000, a negative one is InvalidArgument. A token that is damaged or
        was issued for another listing is InvalidArgument with reason PAGE_TOKEN_INVALID.
        """
        if page_size < 0:
            violation = FieldViolation("page_size", "must not be negative", "int32.gte")
            raise InvalidArgument("page_size must not be negative", violations=[violation])
        size = min(page_size or DEFAULT_SIZE, MAX_SIZE)
        return PageRequest(size, self._cursor(page_token, listing) if page_token else None)

    def write(self, after: Cursor | None, listing: Listing) -> str:
        """Return the token of the page that follows a row; empty after the last page."""
        if after is None:
            return ""
        content = ((after.created_at - _EPOCH) // _MICROSECOND).to_bytes(8, "big", signed=True) + after.id.encode()
        return _text(_VERSION + self._mac(content, listing) + content)

    def _cursor(self, token: str, listing: Listing) -> Cursor:
        raw = _bytes(token)
        mac, content = raw[1 : 1 + _MAC_BYTES], raw[1 + _MAC_BYTES :]
        if raw[:1] != _VERSION or not hmac.compare_digest(mac, self._mac(content, listing)):
            raise _invalid()
        microseconds = int.from_bytes(raw[_TIME_END - 8 : _TIME_END], "big", signed=True)
        return Cursor(_EPOCH + microseconds * _MICROSECOND, raw[_TIME_END:].decode())

    def _mac(self, content: bytes, listing: Listing) -> bytes:
        return hmac.digest(self._key, listing.encoded() + content, "sha256")[:_MAC_BYTES]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(token: str) -> bytes:
    if len(token) > _MAX_TOKEN:
        raise _invalid()
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid() from error
    if _text(raw) != token:  # the same bytes spelt in another way
        raise _invalid()
    return raw


def _invalid() -> InvalidArgument:
    violation = FieldViolation("page_token", "was not issued for this list, filter and order, or is damaged")
    message = "the page token does not belong to this list"
    return InvalidArgument(message, reason="PAGE_TOKEN_INVALID", violations=[violation])
