"""What the service promises, over real storage and media; only the models are scripted."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

import services.recognition.storage as recognition_storage
from candela.recognition.v1 import recognition_pb2
from services.kit.admission import Admission
from services.kit.call import Call, Principal
from services.kit.clock import ManualClock
from services.kit.database import Database
from services.kit.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from services.kit.idempotency import Replies
from services.kit.idempotency_sql import Claims
from services.kit.ids import RandomIds
from services.kit.live_settings import DOCUMENT_PAGES, RECOGNITION_CLOSED, LiveValues
from services.kit.migrations import upgrade
from services.kit.paging import PageRequest
from services.kit.uow_sql import SqlUnits
from services.recognition.api.mapping import recognition_to_proto
from services.recognition.domain.documents import Line, Recognition
from services.recognition.domain.media import PageImage
from services.recognition.ports import PageText
from services.recognition.providers.media import FencedMediaReader
from services.recognition.providers.pdf import PdfProcesses
from services.recognition.storage import SqlRecognitionTx, request_claims
from services.recognition.usecases.recognitions import DocumentRequest, Recognitions
from tests.support.eventually import eventually
from tests.unit.recognition.pages import line
from tests.unit.recognition.test_media import pdf, picture

MIGRATIONS = Path(recognition_storage.__file__).parent / "migrations"
ADA = Principal(tenant="default", user="ada", session="s1")


class ScriptedReader:
    """A page reader that finds the same lines on every page, fails when told to, and can be held back."""

    def __init__(self) -> None:
        self.lines: tuple[Line, ...] = (line("second", top=60), line("first", top=20))
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = 0
        self.most_running = 0
        self.pages_read = 0

    async def read(self, page: PageImage) -> PageText:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
            self.pages_read += 1
            return PageText(self.lines, ("det@1", "rec@1"))
        finally:
            self.running -= 1


class ScriptedFiles:
    """The files that the caller keeps, by name."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.claimed: dict[str, int] = {}
        self.fetched: list[str] = []

    async def size(self, file: str) -> int:
        if file not in self.kept:
            raise NotFound(f"there is no {file}", metadata={"name": file})
        return self.claimed.get(file, len(self.kept[file]))

    async def content(self, file: str, size: int) -> bytes:
        self.fetched.append(file)
        return self.kept[file]


class Service:
    """The use cases with what they stand on."""

    def __init__(self, database: Database) -> None:
        clock = ManualClock()
        self.reader = ScriptedReader()
        self.files = ScriptedFiles()
        self.live = LiveValues()
        self.units = SqlUnits(database, SqlRecognitionTx, Claims(request_claims, clock))
        self.recognitions = Recognitions(
            units=self.units,
            media=FencedMediaReader(PdfProcesses()),
            reader=self.reader,
            files=self.files,
            admission=Admission(running=2, waiting_bytes=3 * len(picture("PNG"))),
            clock=clock,
            ids=RandomIds(clock),
            live=self.live,
        )

    async def recognize(
        self, call: Call, content: bytes = b"", *, include_characters: bool = False, file: str = ""
    ) -> recognition_pb2.Recognition:
        content = b"" if file else content or picture("PNG")
        request = DocumentRequest(content, include_characters=include_characters, file=file)
        return await Replies().run(
            call,
            recognition_pb2.Recognition,
            lambda c: self.recognitions.recognize_document(c, request),
            recognition_to_proto,
        )

    async def history(self, call: Call) -> list[Recognition]:
        return list((await self.recognitions.list_recognitions(call, PageRequest())).items)


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[Service]:
    await upgrade(database_url, MIGRATIONS)
    database = Database(database_url)
    yield Service(database)
    await database.close()


def call(request_id: str = "", user: str = "ada", fingerprint: bytes = b"f" * 32) -> Call:
    return Call("/r/RecognizeDocument", replace(ADA, user=user), request_id=request_id, fingerprint=fingerprint)


async def test_recognition_can_be_closed_and_repeats_are_still_answered(service: Service) -> None:
    first = await service.recognize(call("r1"))
    service.live.take({("default", RECOGNITION_CLOSED.id): "back at noon"})
    with pytest.raises(FailedPrecondition, match="back at noon"):
        await service.recognize(call())
    assert await service.recognize(call("r1")) == first
    assert service.reader.pages_read == 1
    service.live.take({("other", RECOGNITION_CLOSED.id): "somebody else's"})
    assert await service.recognize(call())


async def test_how_many_pages_one_call_reads_can_be_set(service: Service) -> None:
    service.live.take({("default", DOCUMENT_PAGES.id): 2})
    assert (await service.recognize(call(), pdf(2))).source.page_count == 2
    with pytest.raises(InvalidArgument) as refused:
        await service.recognize(call(), pdf(3))
    assert refused.value.metadata["limit_pages"] == "2"


async def test_a_document_is_read_ordered_stored_and_found_again(service: Service) -> None:
    answer = await service.recognize(call())
    assert answer.document.text == "first\n\nsecond\n"
    assert answer.source.content_type == "image/png"
    assert answer.source.page_count == 1
    assert answer.models == ["det@1", "rec@1"]
    [entry] = await service.history(call())
    assert f"recognitions/{entry.id}" == answer.name
    full = await service.recognitions.get_recognition(call(), entry.id, full=True)
    assert recognition_to_proto(full) == answer


async def test_an_uploaded_file_is_read_like_the_same_bytes_sent_along(service: Service) -> None:
    service.files.kept["files/1"] = picture("PNG")
    sent, stored = await service.recognize(call()), await service.recognize(call(), file="files/1")
    assert stored.source == sent.source
    assert stored.document == sent.document
    again = str(uuid.uuid4())
    first = await service.recognize(call(again), file="files/1")
    del service.files.kept["files/1"]
    assert await service.recognize(call(again), file="files/1") == first


async def test_files_that_cannot_be_read(service: Service) -> None:
    with pytest.raises(NotFound) as missing:
        await service.recognize(call(), file="files/none")
    assert missing.value.metadata == {"name": "files/none"}
    service.files.kept |= {"files/large": b"", "files/text": b"plain text"}
    service.files.claimed["files/large"] = 32 * 1024 * 1024 + 1
    with pytest.raises(InvalidArgument) as large:
        await service.recognize(call(), file="files/large")
    assert (large.value.reason, large.value.metadata["limit_bytes"]) == ("REQUEST_TOO_LARGE", str(32 * 1024 * 1024))
    assert service.files.fetched == []
    with pytest.raises(InvalidArgument) as text:
        await service.recognize(call(), file="files/text")
    assert text.value.reason == "MEDIA_UNSUPPORTED"
    assert await service.history(call()) == []


async def test_files_wait_for_their_turn_before_they_are_fetched(service: Service) -> None:
    service.files.kept["files/1"] = picture("PNG")
    service.reader.gate.clear()
    running = [asyncio.create_task(service.recognize(call(), file="files/1")) for _ in range(3)]

    async def fetched() -> list[str]:
        return service.files.fetched if service.reader.running == 2 else []

    assert len(await eventually(fetched)) == 2
    with pytest.raises(ResourceExhausted):
        await service.recognize(call(), file="files/1")
    service.reader.gate.set()
    await asyncio.gather(*running)


async def test_every_page_of_a_pdf_is_read(service: Service) -> None:
    answer = await service.recognize(call(), pdf(3))
    assert [page.number for page in answer.document.pages] == [1, 2, 3]
    assert answer.source.page_count == 3
    assert answer.document.text.count("\f") == 2


async def test_characters_come_only_when_asked_for(service: Service) -> None:
    def characters(answer: recognition_pb2.Recognition) -> int:
        return len(answer.document.pages[0].blocks[0].lines[0].words[0].characters)

    assert characters(await service.recognize(call())) == 0
    assert characters(await service.recognize(call(), include_characters=True)) == len("first")


async def test_more_pages_are_read_without_their_characters(service: Service) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await service.recognize(call(), pdf(11), include_characters=True)
    assert refused.value.metadata["limit_pages"] == "10"
    assert len((await service.recognize(call(), pdf(11))).document.pages) == 11


async def test_a_repeat_gets_the_same_bytes_without_reading_again(service: Service) -> None:
    request_id = str(uuid.uuid4())
    first = await service.recognize(call(request_id))
    again = await service.recognize(call(request_id))
    assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)
    assert service.reader.pages_read == 1
    assert len(await service.history(call())) == 1


async def test_two_at_once_with_one_request_id_have_one_effect(service: Service) -> None:
    request_id = str(uuid.uuid4())
    first, second = await asyncio.gather(*(service.recognize(call(request_id)) for _ in range(2)))
    assert first == second
    assert len(await service.history(call())) == 1


async def test_a_failure_stores_nothing_and_the_same_id_may_try_again(service: Service) -> None:
    request_id = str(uuid.uuid4())
    service.reader.failure = Unavailable("the models are down")
    with pytest.raises(Unavailable):
        await service.recognize(call(request_id))
    assert await service.history(call()) == []
    service.reader.failure = None
    await service.recognize(call(request_id))
    assert len(await service.history(call())) == 1


async def test_unreadable_bytes_store_nothing(service: Service) -> None:
    with pytest.raises(InvalidArgument):
        await service.recognize(call(), b"not a document")
    assert await service.history(call()) == []


async def test_another_user_finds_nothing(service: Service) -> None:
    answer = await service.recognize(call())
    theirs = answer.name.removeprefix("recognitions/")
    with pytest.raises(NotFound):
        await service.recognitions.get_recognition(call(user="eve"), theirs, full=True)
    with pytest.raises(NotFound):
        await service.recognitions.delete_recognition(call(user="eve"), theirs)
    assert await service.history(call(user="eve")) == []


async def test_what_is_deleted_is_gone_for_good(service: Service) -> None:
    answer = await service.recognize(call())
    mine = answer.name.removeprefix("recognitions/")
    await service.recognitions.delete_recognition(call(), mine)
    with pytest.raises(NotFound):
        await service.recognitions.get_recognition(call(), mine, full=True)
    with pytest.raises(NotFound):
        await service.recognitions.delete_recognition(call(), mine)


async def test_few_documents_are_worked_on_and_what_is_too_much_is_refused_at_once(service: Service) -> None:
    service.reader.gate.clear()
    admitted = [asyncio.create_task(service.recognize(call())) for _ in range(3)]
    await eventually(lambda: service.reader.running == 2)
    with pytest.raises(ResourceExhausted) as refused:
        await service.recognize(call())
    assert refused.value.reason == "OVERLOADED"
    assert refused.value.retry_after
    service.reader.gate.set()
    assert len(await asyncio.gather(*admitted)) == 3
    assert service.reader.most_running == 2


async def test_a_caller_who_goes_away_gives_the_place_back(service: Service) -> None:
    service.reader.gate.clear()
    waiting = [asyncio.create_task(service.recognize(call())) for _ in range(3)]
    await eventually(lambda: service.reader.running == 2)
    for task in waiting:
        task.cancel()
    assert all(isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*waiting, return_exceptions=True))
    service.reader.gate.set()
    await service.recognize(call())
    assert len(await service.history(call())) == 1
