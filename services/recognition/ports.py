"""What the recognition service needs from outside itself."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.kit.paging import Page, PageRequest
from services.kit.uow import Tx
from services.recognition.domain.documents import Line, Recognition
from services.recognition.domain.media import PageImage


@dataclass(frozen=True, slots=True)
class PageText:
    """The lines found on a page, in no particular order, and the models that found them as `name@version`."""

    lines: tuple[Line, ...]
    models: tuple[str, ...]


class OpenedMedia(Protocol):
    """A document whose header was read; its pages are decoded one at a time."""

    @property
    def page_count(self) -> int:
        """Return how many pages there are; at least 1."""

    def pages(self, numbers: Sequence[int]) -> AsyncIterator[PageImage]:
        """Decode pages in the order given. Raises InvalidArgument when the bytes do not hold what they promise."""


class MediaReader(Protocol):
    """Turns untrusted bytes into pages of pixels."""

    def open(self, content: bytes, content_type: str) -> AbstractAsyncContextManager[OpenedMedia]:
        """Read the header of `content`. Raises InvalidArgument (MEDIA_*) for what cannot or may not be read."""


class PageReader(Protocol):
    """Finds and reads the text on a page."""

    async def read(self, page: PageImage) -> PageText:
        """Return the page's lines. Raises ResourceExhausted when the models are busy, Unavailable when down."""


class StoredFiles(Protocol):
    """Files that the caller keeps."""

    async def size(self, file: str) -> int:
        """Return how many bytes `files/{file}` has; NotFound when the caller has none of that name."""

    async def content(self, file: str, size: int) -> bytes:
        """Return the bytes of a file that has `size` of them. Unavailable when they do not all arrive."""


class History(Protocol):
    """Each user's recognitions. Every method sees only what belongs to the tenant and user given."""

    async def add(self, tenant: str, user: str, recognition: Recognition) -> None:
        """Store a new recognition with its document."""

    async def get(self, tenant: str, user: str, recognition_id: str, *, full: bool) -> Recognition | None:
        """Return one recognition, without its document unless `full`; None when there is none."""

    async def page(self, tenant: str, user: str, wanted: PageRequest) -> Page[Recognition]:
        """Return one page of the history without documents, the newest first."""

    async def erase(self, tenant: str, user: str) -> int:
        """Delete everything of one user; return how many recognitions there were."""

    async def delete(self, tenant: str, user: str, recognition_id: str) -> bool:
        """Delete one recognition; return whether there was one."""


class ErasureProgress(Protocol):
    """How far this service has followed the list of erased users."""

    async def get(self) -> datetime | None:
        """Return the time of the last `set`; None before the first one."""

    async def set(self, time: datetime) -> None:
        """Remember a time."""


class RecognitionTx(Tx, Protocol):
    """One unit of work: what is changed through it is committed together or not at all."""

    @property
    def history(self) -> History:
        """Return the recognitions as this unit of work sees them."""

    @property
    def erasure_progress(self) -> ErasureProgress:
        """Return how far erasures were followed."""
