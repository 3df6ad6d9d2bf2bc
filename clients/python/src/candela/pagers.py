"""Lists that are longer than one answer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Generic, TypeVar

Page = TypeVar("Page")
Item = TypeVar("Item")


class Pager(Generic[Page, Item]):
    """Iterates over all items of a list, fetching pages as they are needed. Each iteration starts anew."""

    def __init__(
        self,
        fetch: Callable[[str], Page],
        items: Callable[[Page], Iterable[Item]],
        next_token: Callable[[Page], str],
        page_token: str = "",
    ) -> None:
        self._fetch = fetch
        self._items = items
        self._next_token = next_token
        self._first = page_token

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from self._items(page)

    def pages(self, page_token: str | None = None) -> Iterator[Page]:
        """Iterates over whole pages, from the beginning or from a `next_page_token` of before."""
        page_token = self._first if page_token is None else page_token
        while True:
            page = self._fetch(page_token)
            yield page
            page_token = self._next_token(page)
            if not page_token:
                return


class AsyncPager(Generic[Page, Item]):
    """What Pager is, for `async for`."""

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[Page]],
        items: Callable[[Page], Iterable[Item]],
        next_token: Callable[[Page], str],
        page_token: str = "",
    ) -> None:
        self._fetch = fetch
        self._items = items
        self._next_token = next_token
        self._first = page_token

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in self._items(page):
                yield item

    async def pages(self, page_token: str | None = None) -> AsyncIterator[Page]:
        """Iterates over whole pages, from the beginning or from a `next_page_token` of before."""
        page_token = self._first if page_token is None else page_token
        while True:
            page = await self._fetch(page_token)
            yield page
            page_token = self._next_token(page)
            if not page_token:
                return
