"""Paging: no row twice, no row skipped, no token where it does not belong."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, insert, select
from sqlalchemy.pool import StaticPool

from services.kit.errors import InvalidArgument
from services.kit.paging import MAX_SIZE, Cursor, Listing, PageRequest, PageTokens
from services.kit.paging_sql import keyset
from tests.unit.kit_state.accounts import ACCOUNTS, Bank

TOKENS = PageTokens(b"k" * 32)
LISTING = Listing("accounts", "default", "ada")
START = datetime(2026, 1, 1, tzinfo=UTC)
# Few moments and few letters: rows of the same moment, which only the id tells apart, are the usual case.
KEYS = st.tuples(st.integers(0, 3), st.text("abc", min_size=1, max_size=4))


def row(key: tuple[int, str]) -> dict[str, object]:
    return {"id": f"{key[1]}{key[0]}", "balance": 0, "seen_at": START + timedelta(microseconds=key[0])}


@contextmanager
def memory() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        ACCOUNTS.create(connection)
        yield connection
    engine.dispose()


@given(st.sets(KEYS, max_size=30), st.lists(st.sets(KEYS, max_size=4), max_size=30), st.integers(1, 7))
def test_inserts_in_between_neither_repeat_nor_hide_rows(
    first: set[tuple[int, str]], later: list[set[tuple[int, str]]], size: int
) -> None:
    with memory() as connection:
        present: set[tuple[int, str]] = set()

        def add(keys: set[tuple[int, str]]) -> None:
            new = keys - present
            present.update(new)
            if new:
                connection.execute(insert(ACCOUNTS), [row(key) for key in sorted(new)])

        add(first)
        seen: list[Cursor] = []
        token, inserts = "", iter(later)
        while True:
            page = TOKENS.read(size, token, LISTING)
            found = connection.execute(keyset(select(ACCOUNTS), page, ACCOUNTS.c.seen_at, ACCOUNTS.c.id)).all()
            cut = page.cut([Cursor(one.seen_at, one.id) for one in found], lambda cursor: cursor)
            seen += cut.items
            add(next(inserts, set()))
            token = TOKENS.write(cut.next, LISTING)
            if not token:
                break
    ids = [cursor.id for cursor in seen]
    assert len(ids) == len(set(ids))
    assert set(ids) >= {str(row(key)["id"]) for key in first}
    assert seen == sorted(seen, key=lambda cursor: (cursor.created_at, cursor.id), reverse=True)


async def test_pages_on_every_database(bank: Bank) -> None:
    async with bank.units.write() as tx:
        rows = [row((number // 10, f"row{number:03}")) for number in range(95)]
        await tx.session.execute(insert(ACCOUNTS), rows)
    sizes, ids, page = [], [], PageRequest(size=20)
    while True:
        async with bank.units.read() as tx:
            statement = select(ACCOUNTS).where(ACCOUNTS.c.seen_at.is_not(None))
            found = (await tx.session.execute(keyset(statement, page, ACCOUNTS.c.seen_at, ACCOUNTS.c.id))).all()
        cut = page.cut(found, lambda one: Cursor(one.seen_at, one.id))
        sizes.append(len(cut.items))
        ids += [one.id for one in cut.items]
        if cut.next is None:
            break
        page = PageRequest(20, cut.next)
    assert sizes == [20, 20, 20, 20, 15]
    assert ids == [one["id"] for one in reversed(rows)]


@given(st.datetimes(timezones=st.just(UTC)), st.text(st.characters(codec="utf-8"), max_size=64))
def test_a_token_brings_its_cursor_back(moment: datetime, row_id: str) -> None:
    cursor = Cursor(moment, row_id)
    assert TOKENS.read(0, TOKENS.write(cursor, LISTING), LISTING).after == cursor


@pytest.mark.parametrize(
    "other",
    [
        Listing("images", "default", "ada"),
        Listing("accounts", "other", "ada"),
        Listing("accounts", "default", "bob"),
        Listing("accounts", "default", "ada", filter="balance > 0"),
        Listing("accounts", "default", "ada", order="id"),
        Listing("accountsd", "efault", "ada"),
    ],
)
def test_a_token_of_another_list_is_refused(other: Listing) -> None:
    with pytest.raises(InvalidArgument) as caught:
        TOKENS.read(0, TOKENS.write(Cursor(START, "a"), LISTING), other)
    assert caught.value.reason == "PAGE_TOKEN_INVALID"
    assert caught.value.violations[0].field == "page_token"


@given(st.integers(0, 10_000), st.characters(codec="utf-8"))
def test_a_damaged_token_is_refused(place: int, character: str) -> None:
    token = TOKENS.write(Cursor(START, "0123456789"), LISTING)
    place %= len(token)
    damaged = token[:place] + character + token[place + 1 :]
    if damaged != token:
        with pytest.raises(InvalidArgument):
            TOKENS.read(0, damaged, LISTING)


@given(st.text(max_size=600))
def test_a_made_up_token_is_refused(token: str) -> None:
    if token:
        with pytest.raises(InvalidArgument):
            TOKENS.read(0, token, LISTING)


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        TOKENS.read(0, PageTokens(b"x" * 32).write(Cursor(START, "a"), LISTING), LISTING)


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (MAX_SIZE, MAX_SIZE), (MAX_SIZE + 1, MAX_SIZE)])
def test_sizes_are_coerced(asked: int, given: int) -> None:
    assert TOKENS.read(asked, "", LISTING) == PageRequest(given, None)


def test_a_negative_size_is_an_error() -> None:
    with pytest.raises(InvalidArgument) as caught:
        TOKENS.read(-1, "", LISTING)
    assert caught.value.violations[0].field == "page_size"


def test_there_is_no_token_after_the_last_page() -> None:
    assert TOKENS.write(None, LISTING) == ""
