"""Files and uploads over every database: what is kept, what is refused, and that nothing else stays."""

import asyncio
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from services.kit.errors import (
    CandelaError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from services.kit.objects import ObjectKey
from services.kit.paging import PageRequest
from services.user.domain.files import FileRules, Space
from services.user.usecases.shelf import CHUNK
from tests.unit.user.file_world import FileWorld, new_file_world, sha256
from tests.unit.user.world import World


@pytest_asyncio.fixture
async def kept(world: World, tmp_path: Path) -> FileWorld:
    """The use cases over each kind of database."""
    return await new_file_world(world, tmp_path / "objects")


@pytest_asyncio.fixture
async def small(small_world: World, tmp_path: Path) -> FileWorld:
    """The use cases over SQLite."""
    return await new_file_world(small_world, tmp_path / "objects")


async def listed(kept: FileWorld, prefix: str = "", size: int = 50) -> list[str]:
    """Return the ids of all files, page by page."""
    ids: list[str] = []
    wanted = PageRequest(size)
    while True:
        page = await kept.files.page(kept.call(), prefix, wanted)
        ids += [file.id for file in page.items]
        if page.next is None:
            return ids
        wanted = PageRequest(size, page.next)


async def test_a_file_from_its_bytes_to_its_end(kept: FileWorld) -> None:
    file = await kept.create(b"hello", "gr\u00fc\u00dfe.txt")
    found = await kept.files.get(kept.call(), file)
    assert (found.filename, found.content_type, found.size) == ("gr\u00fc\u00dfe.txt", "text/plain", 5)
    assert (found.sha256, found.expire_time, found.origin) == (sha256(b"hello"), None, "")
    assert await kept.content(file) == b"hello"
    assert [await kept.content(file, *part) for part in ((1, 0), (1, 2), (4, 9), (5, 0))] == [
        b"ello", b"el", b"o", b"",
    ]  # fmt: skip
    assert await kept.space() == Space(5, 1)
    await kept.delete(file)
    for gone in (kept.files.get(kept.call(), file), kept.content(file), kept.delete(file)):
        with pytest.raises(NotFound):
            await gone
    assert await kept.space() == Space()
    assert await kept.upkeep.collect() == 1
    assert await kept.stored() == set()


async def test_lists_are_paged_and_told_by_kind(kept: FileWorld) -> None:
    made = []
    for number, content in enumerate((b"a", b"\x89PNG\r\n\x1a\n", b"{}", b"\xff\xd8\xff", b"GIF89a")):
        made.append(await kept.create(content, f"{number}"))
        kept.world.clock.advance(1)
    assert await listed(kept, size=2) == made[::-1]
    assert await listed(kept, "image/", size=1) == [made[4], made[3], made[1]]
    assert await listed(kept, "IMAGE/PNG") == [made[1]]
    for nothing in ("image_", "%", "x"):
        assert await listed(kept, nothing) == []


async def test_nobody_sees_the_files_of_others(kept: FileWorld) -> None:
    file, upload = await kept.create(), await kept.begin(3)
    eve = await kept.world.register()
    call = kept.call(eve)
    for refused in (
        kept.files.get(call, file),
        kept.files.download(call, file, 0, 0),
        kept.files.delete(call, file),
        kept.uploads.get(call, upload),
        kept.uploads.write(call, upload, 0, b"abc"),
        kept.uploads.complete(call, upload, ""),
        kept.uploads.delete(call, upload),
    ):
        with pytest.raises(NotFound):
            await refused
    assert (await kept.files.page(call, "", PageRequest())).items == []


async def test_a_large_file_in_pieces(kept: FileWorld) -> None:
    content = b"%PDF-1.7 and the rest"
    upload = await kept.begin(len(content))
    assert await kept.space() == Space(len(content), 1)
    assert await kept.write(upload, 0, content[:3]) == 3
    assert await kept.write(upload, 3, content[3:9]) == 9
    with pytest.raises(FailedPrecondition) as missing:
        await kept.complete(upload)
    assert missing.value.metadata == {"received_bytes": "9", "size_bytes": str(len(content))}
    assert await kept.write(upload, 9, content[9:]) == len(content)
    with pytest.raises(InvalidArgument) as differs:
        await kept.complete(upload, sha256(b"something else"))
    assert differs.value.violations[0].field == "sha256"
    file = await kept.complete(upload, sha256(content))
    assert (file.filename, file.content_type, file.sha256) == ("big.bin", "application/pdf", sha256(content))
    assert await kept.content(upload) == content
    assert [await kept.content(upload, *part) for part in ((2, 3), (8, 2), (20, 0))] == [
        content[2:5], content[8:10], content[20:],
    ]  # fmt: skip
    with pytest.raises(NotFound):
        await kept.uploads.get(kept.call(), upload)
    assert await kept.space() == Space(len(content), 1)
    await kept.delete(upload)
    assert await kept.upkeep.collect() == 3
    assert (await kept.stored(), await kept.space()) == (set(), Space())


async def test_pieces_that_come_again_gaps_and_too_much(kept: FileWorld) -> None:
    upload = await kept.begin(10)
    assert await kept.write(upload, 0, b"abcd") == 4
    puts = kept.objects.puts
    assert await kept.write(upload, 0, b"abcd") == 4
    assert await kept.write(upload, 1, b"??") == 4
    assert kept.objects.puts == puts
    assert await kept.write(upload, 2, b"cdef") == 6
    with pytest.raises(FailedPrecondition) as gap:
        await kept.write(upload, 7, b"hij")
    assert gap.value.metadata == {"received_bytes": "6"}
    for offset, piece in ((6, b"ghijk"), (10, b"x"), (2**63 - 1, b"x")):
        with pytest.raises(InvalidArgument) as beyond:
            await kept.write(upload, offset, piece)
        assert beyond.value.metadata["size_bytes"] == "10"
    assert await kept.write(upload, 6, b"ghij") == 10
    assert (await kept.complete(upload)).sha256 == sha256(b"abcdefghij")
    assert await kept.content(upload) == b"abcdefghij"
    await kept.swept()
    assert len(await kept.stored()) == 3


async def test_several_writers_of_one_piece_have_one_effect(kept: FileWorld) -> None:
    upload = await kept.begin(8)
    assert await asyncio.gather(*(kept.write(upload, 0, b"abcd") for _ in range(4))) == [4] * 4
    assert sorted(await asyncio.gather(kept.write(upload, 4, b"ef"), kept.write(upload, 4, b"efgh")))[1] == 8
    await kept.complete(upload, sha256(b"abcdefgh"))
    assert await kept.content(upload) == b"abcdefgh"
    await kept.swept()
    async with kept.outside.units.read() as tx:
        pieces = await tx.files.pieces(kept.owner, upload)
    assert {piece.object for piece in pieces} == await kept.stored()


async def test_space_and_number_hold_whoever_races(kept: FileWorld) -> None:
    results = await asyncio.gather(*(kept.create(bytes(300)) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, str) for result in results) == 3
    for refused in (result for result in results if not isinstance(result, str)):
        assert isinstance(refused, ResourceExhausted)
        assert refused.reason == "QUOTA_EXCEEDED"
    with pytest.raises(ResourceExhausted) as too_large:
        await kept.begin(101)
    assert too_large.value.metadata == {"limit_bytes": "1000", "used_bytes": "900", "size_bytes": "101"}
    for _ in range(2):
        await kept.begin(1)
    with pytest.raises(ResourceExhausted) as too_many:
        await kept.create(b"x")
    assert too_many.value.metadata == {"limit_files": "5"}
    assert await kept.space() == Space(902, 5)
    await kept.upkeep.collect()
    assert len(await kept.stored()) == 3


async def test_repeats_are_answered_as_the_first_time(kept: FileWorld) -> None:
    ids = [str(uuid.uuid4()) for _ in range(5)]
    file = await kept.create(request_id=ids[0])
    assert await kept.create(request_id=ids[0]) == file
    assert await asyncio.gather(*(kept.create(b"!", request_id=ids[1]) for _ in range(3)))
    upload = await kept.begin(4, request_id=ids[2])
    assert await kept.begin(4, request_id=ids[2]) == upload
    assert await asyncio.gather(*(kept.write(upload, 0, b"abcd", request_id=ids[3]) for _ in range(3))) == [4] * 3
    first = await kept.complete(upload, request_id=ids[4])
    assert await kept.complete(upload, request_id=ids[4]) == first
    assert await kept.write(upload, 0, b"abcd", request_id=ids[3]) == 4
    with pytest.raises(CandelaError) as reused:
        await kept.create(b"other", request_id=ids[0])
    assert reused.value.reason == "REQUEST_ID_REUSED"
    for _ in range(2):
        await kept.delete(file, request_id=ids[0].replace("-", "a"))
    assert await kept.space() == Space(5, 2)
    await kept.swept()
    assert len(await kept.stored()) == 2


async def test_uploads_end_a_day_after_their_last_piece(kept: FileWorld) -> None:
    old, young, done = await kept.begin(4), await kept.begin(4), await kept.begin(1)
    await kept.write(old, 0, b"ab")
    await kept.write(done, 0, b"x")
    await kept.complete(done)
    kept.world.clock.advance(timedelta(hours=20))
    await kept.write(young, 0, b"ab")
    kept.world.clock.advance(timedelta(hours=4))
    for refused in (kept.uploads.get(kept.call(), old), kept.write(old, 2, b"cd"), kept.complete(old)):
        with pytest.raises(NotFound):
            await refused
    assert await kept.upkeep.expire() == 1
    assert await kept.upkeep.expire() == 0
    assert await kept.upkeep.collect() == 1
    assert await kept.write(young, 2, b"cd") == 4
    assert await kept.space() == Space(5, 2)
    assert len(await kept.stored()) == 3


async def test_a_piece_that_arrives_while_the_sweep_looks_saves_its_upload(kept: FileWorld) -> None:
    upload = await kept.begin(4)
    await kept.write(upload, 0, b"ab")
    async with kept.outside.units.read() as tx:
        [seen] = await tx.uploads.expired(kept.world.clock.now() + timedelta(days=2), 10)
    kept.world.clock.advance(1)
    await kept.write(upload, 2, b"cd")
    async with kept.outside.units.write() as tx:
        assert not await tx.uploads.delete(seen, kept.world.clock.now())
    assert (await kept.complete(upload)).size_bytes == 4


async def test_files_end_when_their_time_is_over(world: World, tmp_path: Path) -> None:
    kept = await new_file_world(world, tmp_path / "objects", FileRules(retention=timedelta(days=7)))
    file = await kept.create()
    upload = await kept.begin(1)
    await kept.write(upload, 0, b"x")
    await kept.complete(upload)
    begun = kept.world.clock.now()
    assert (await kept.files.get(kept.call(), file)).expire_time == begun + timedelta(days=7)
    kept.world.clock.advance(timedelta(days=7))
    with pytest.raises(NotFound):
        await kept.files.get(kept.call(), file)
    assert await listed(kept) == []
    assert await kept.upkeep.expire() == 2
    assert await kept.space() == Space()
    await kept.upkeep.collect()
    assert await kept.stored() == set()


async def test_an_erased_user_leaves_neither_rows_nor_objects(kept: FileWorld) -> None:
    eve = await kept.world.register()
    theirs = await kept.files.create(kept.call(eve), "eve.txt", b"eve")
    await kept.create(request_id=str(uuid.uuid4()))
    upload = await kept.begin(4)
    await kept.write(upload, 0, b"ab")
    await kept.world.accounts.delete(kept.call(), "me")
    with pytest.raises(NotFound):
        await kept.create()
    with pytest.raises(NotFound):
        await kept.begin(1)
    assert await kept.upkeep.collect() == 2
    [left] = await kept.stored()
    assert left.split("/")[1] == eve.id
    assert (await kept.files.get(kept.call(eve), theirs.id)).size == 3
    async with kept.outside.units.read() as tx:
        assert await tx.files.pieces(kept.owner, upload) == []


async def test_a_write_that_meets_an_erasure_leaves_nothing(kept: FileWorld) -> None:
    upload = await kept.begin(900)
    await asyncio.gather(
        kept.world.accounts.delete(kept.call(), "me"),
        *(kept.create(bytes(10)) for _ in range(3)),
        *(kept.write(upload, 0, bytes(10)) for _ in range(3)),
        return_exceptions=True,
    )
    await kept.swept()
    assert await kept.stored() == set()


NAMES = (
    "a\nb", "a\x7fb", "a\u0085b", "a\u2028b", "exe.\u202egpj", "\u2066a", " a", "a ", ".", "..", "\u00a0", "\u3000a",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_names_that_deceive_are_refused(small: FileWorld, name: str) -> None:
    for refused in (small.create(filename=name), small.uploads.begin(small.call(), name, 1)):
        with pytest.raises(InvalidArgument) as caught:
            await refused
        assert [violation.field for violation in caught.value.violations] == ["filename"]
    assert await small.stored() == set()


@pytest.mark.parametrize("name", ["...", "a.tar.gz", "\U0001f469\u200d\U0001f680.png", "con", "-rf", "%2e", "e\u0301"])
async def test_odd_names_are_kept_in_composed_form(small: FileWorld, name: str) -> None:
    found = await small.files.get(small.call(), await small.create(filename=name))
    assert found.filename == ("\u00e9" if name == "e\u0301" else name)


async def test_what_the_storage_lost_is_told(small: FileWorld) -> None:
    file = await small.create()
    upload = await small.begin(2)
    await small.write(upload, 0, b"ab")
    for name in await small.stored():
        await small.objects.delete(ObjectKey.parse(name))
    for lost in (small.content(file), small.complete(upload)):
        with pytest.raises(DataLoss):
            await lost


async def test_a_download_of_a_file_that_is_deleted_meanwhile(small: FileWorld) -> None:
    file = await small.create()
    _, chunks = await small.files.download(small.call(), file, 0, 0)
    await small.delete(file)
    await small.upkeep.collect()
    with pytest.raises(NotFound):
        await anext(chunks)


async def test_chunks_have_at_most_a_mib(small_world: World, tmp_path: Path) -> None:
    kept = await new_file_world(small_world, tmp_path / "objects", FileRules(), waiting=10**8)
    content = bytes(range(256)) * (3 * 4096) + b"rest"
    file = await kept.create(content)
    _, chunks = await kept.files.download(kept.call(), file, 100, 0)
    found = [chunk async for chunk in chunks]
    assert max(map(len, found)) <= CHUNK
    assert b"".join(found) == content[100:]


async def test_too_much_at_once_is_told_to_come_back(small_world: World, tmp_path: Path) -> None:
    kept = await new_file_world(small_world, tmp_path / "objects", FileRules(), waiting=100)
    results = await asyncio.gather(*(kept.create(bytes(60)) for _ in range(3)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, ResourceExhausted)]
    assert [(error.reason, error.retry_after) for error in refused] == [("OVERLOADED", 2.0)] * 2


async def test_an_upload_of_too_many_pieces_ends(small: FileWorld) -> None:
    upload = await small.begin(10)
    for offset in range(6):
        await small.write(upload, offset, b"x")
    with pytest.raises(ResourceExhausted) as refused:
        await small.write(upload, 6, b"x")
    assert refused.value.metadata == {"limit_pieces": "6"}
    assert await small.write(upload, 0, b"xxx") == 6
