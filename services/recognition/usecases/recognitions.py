"""What the recognition service does: read documents, and keep, show and forget each user's history of them."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from services.kit.admission import Admission
from services.kit.call import Call
from services.kit.clock import Clock
from services.kit.errors import FailedPrecondition, NotFound
from services.kit.ids import Ids
from services.kit.live_settings import DOCUMENT_PAGES, RECOGNITION_CLOSED, Live, LiveValues
from services.kit.paging import Page as PageOf
from services.kit.paging import PageRequest
from services.kit.uow import Units
from services.recognition.domain.documents import Document, Kind, Page, Recognition, Source
from services.recognition.domain.layout import reading_order
from services.recognition.domain.media import (
    MAX_PAGES_PER_CALL,
    MAX_PAGES_WITH_CHARACTERS,
    check_bytes,
    choose_pages,
    sniff,
)
from services.recognition.ports import MediaReader, PageReader, RecognitionTx, StoredFiles


@dataclass(frozen=True, slots=True)
class DocumentRequest:
    """A document to read: its bytes, the pages wanted (all when empty), and whether words list their characters.

    `file` is the name of an uploaded file, `files/{file}`, whose bytes are meant instead of `content`.
    """

    content: bytes
    pages: Sequence[int] = ()
    include_characters: bool = False
    file: str = ""


@dataclass(frozen=True, slots=True)
class _ReadDocument:
    document: Document
    page_count: int
    models: tuple[str, ...]


class Recognitions:
    """The use cases over their ports."""

    def __init__(
        self,
        *,
        units: Units[RecognitionTx],
        media: MediaReader,
        reader: PageReader,
        files: StoredFiles,
        admission: Admission,
        clock: Clock,
        ids: Ids,
        live: Live | None = None,
    ) -> None:
        """`live` is what admins have set; without it everything has its default."""
        self._units = units
        self._media = media
        self._reader = reader
        self._files = files
        self._admission = admission
        self._clock = clock
        self._ids = ids
        self._live: Live = live or LiveValues()

    async def recognize_document(self, call: Call, request: DocumentRequest) -> Recognition:
        """Read a document and store it in the caller's history.

        Raises InvalidArgument (MEDIA_*, REQUEST_TOO_LARGE), NotFound for a file that the caller does not have,
        FailedPrecondition while an admin has closed recognition, ResourceExhausted (OVERLOADED) and Unavailable;
        nothing is stored then.
        """
        # Reading takes seconds: a repeat of a finished call is answered before it, not after.
        await self._units.check_replay(call)
        tenant = call.caller.tenant
        if closed := self._live.get(RECOGNITION_CLOSED, tenant):
            raise FailedPrecondition(closed, metadata={"setting": RECOGNITION_CLOSED.id})
        started = self._clock.monotonic()
        size = await self._files.size(request.file) if request.file else len(request.content)
        check_bytes(size)
        async with self._admission.admit(size):  # before a file is fetched: it takes memory, too
            content = await self._files.content(request.file, size) if request.file else request.content
            content_type = sniff(content)
            read = await self._read(request, content, content_type, self._live.get(DOCUMENT_PAGES, tenant))
        digest = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        document = read.document if request.include_characters else read.document.without_characters()
        recognition = Recognition(
            id=self._ids.new(),
            kind=Kind.DOCUMENT,
            create_time=self._clock.now(),
            source=Source(content_type, size, digest, read.page_count),
            models=read.models,
            processing_time=timedelta(seconds=self._clock.monotonic() - started),
            confidence=document.confidence,
            document=document,
        )
        caller = call.caller
        async with self._units.write(call) as tx:
            await tx.history.add(caller.tenant, caller.user, recognition)
            tx.reply(recognition)
        return recognition

    async def _read(
        self, request: DocumentRequest, content: bytes, content_type: str, most_pages: int
    ) -> _ReadDocument:
        pages: list[Page] = []
        models: dict[str, None] = {}
        async with self._media.open(content, content_type) as media:
            page_count = media.page_count
            limit = MAX_PAGES_WITH_CHARACTERS if request.include_characters else MAX_PAGES_PER_CALL
            async for image in media.pages(choose_pages(request.pages, page_count, min(limit, most_pages))):
                text = await self._reader.read(image)
                blocks = await asyncio.to_thread(reading_order, text.lines)
                pages.append(Page(image.number, image.width, image.height, blocks))
                models |= dict.fromkeys(text.models)
        return _ReadDocument(Document(tuple(pages)), page_count, tuple(models))

    async def list_recognitions(self, call: Call, wanted: PageRequest) -> PageOf[Recognition]:
        """Return one page of the caller's recognitions without their documents, the newest first."""
        caller = call.caller
        async with self._units.read(call, may_lag=True) as tx:
            return await tx.history.page(caller.tenant, caller.user, wanted)

    async def get_recognition(self, call: Call, recognition_id: str, *, full: bool) -> Recognition:
        """Return one of the caller's recognitions; NotFound when there is none of that id."""
        caller = call.caller
        async with self._units.read(call, may_lag=True) as tx:
            found = await tx.history.get(caller.tenant, caller.user, recognition_id, full=full)
        if found is None:
            raise _not_found(recognition_id)
        return found if full else replace(found, document=None)

    async def delete_recognition(self, call: Call, recognition_id: str) -> None:
        """Delete one of the caller's recognitions for good; NotFound when there is none of that id."""
        caller = call.caller
        async with self._units.write(call) as tx:
            if not await tx.history.delete(caller.tenant, caller.user, recognition_id):
                raise _not_found(recognition_id)
            tx.reply(None)


def _not_found(recognition_id: str) -> NotFound:
    name = f"recognitions/{recognition_id}"
    return NotFound(f"there is no {name}", metadata={"name": name})
