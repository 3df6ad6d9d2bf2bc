"""A process that dies at any step: nothing acknowledged is lost, nothing stays that nobody names."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

import pytest
import pytest_asyncio

from services.kit.call import Call
from services.kit.errors import Aborted, ResourceExhausted
from services.kit.objects import ObjectKey
from services.kit.paging import PageRequest
from services.kit.uow import Units
from services.user.domain.files import File, Owner, Space, Upload
from services.user.ports import UserTx
from services.user.usecases.file_upkeep import FileUpkeep
from services.user.usecases.files import Files
from services.user.usecases.shelf import WRITE_LIFE, Shelf, Turnstile
from services.user.usecases.uploads import Uploads
from tests.unit.user.file_world import BrokenError, FileWorld, new_file_world, sha256
from tests.unit.user.world import World

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone: no handler of the code under test may run, as none would."""


@dataclass
class DyingUnits:
    """Units whose process dies before or after its nth commit; nothing works afterwards."""

    real: Units[UserTx]
    commits: int
    after: bool
    dead: bool = False

    @asynccontextmanager
    async def write(self, call: Call | None = None) -> AsyncIterator[UserTx]:
        self.check()
        self.commits -= 1
        async with self.real.write(call) as tx:
            yield tx
            if self.commits == 0 and not self.after:
                self.dead = True
                raise Killed
        if self.commits == 0:
            self.dead = True
            raise Killed

    @asynccontextmanager
    async def read(self) -> AsyncIterator[UserTx]:
        self.check()
        async with self.real.read() as tx:
            yield tx

    async def check_replay(self, call: Call) -> None:
        self.check()
        await self.real.check_replay(call)

    async def run(self, call: Call | None, work: Callable[[UserTx], Awaitable[T]], *, attempts: int = 5) -> T:
        raise NotImplementedError("files do not use it")

    def check(self) -> None:
        if self.dead:
            raise Killed


@pytest_asyncio.fixture
async def kept(small_world: World, tmp_path: Path) -> FileWorld:
    return await new_file_world(small_world, tmp_path / "objects")


def doomed(kept: FileWorld, commits: int, *, after: bool) -> FileWorld:
    """Return the same world as a process sees it that dies at a commit."""
    outside = replace(kept.outside, units=cast("Units[UserTx]", DyingUnits(kept.outside.units, commits, after)))
    shelf = Shelf(outside)
    return replace(
        kept,
        outside=outside,
        shelf=shelf,
        files=Files(outside, shelf),
        uploads=Uploads(outside, shelf),
        upkeep=FileUpkeep(outside),
    )


async def consistent(kept: FileWorld) -> None:
    """Check that after the next sweeps objects, pieces and space are exactly those of what can be seen."""
    await kept.swept()
    now = kept.world.clock.now()
    async with kept.outside.units.read() as tx:
        files = list((await tx.files.page(kept.owner, "", now, PageRequest(1000))).items)
        uploads = await tx.uploads.expired(now.replace(year=now.year + 1), 100)
        seen: list[File | Upload] = [*files, *uploads]
        pieces = [piece for one in seen for piece in await tx.files.pieces(kept.owner, one.id)]
        assert await tx.strays.given_up(10) == []
    assert await kept.stored() == {piece.object for piece in pieces}
    assert await kept.space() == Space(sum(one.size for one in seen), len(seen))
    for file in files:
        assert sha256(await kept.content(file.id)) == file.sha256


@pytest.mark.parametrize("commit", [1, 2])
@pytest.mark.parametrize("after", [False, True])
async def test_dying_while_a_file_is_stored(kept: FileWorld, commit: int, after: bool) -> None:
    request_id = "6f3c9a52-0d3e-4a51-8f5f-3a3f5e0b7a11"
    with pytest.raises(Killed):
        await doomed(kept, commit, after=after).create(request_id=request_id)
    file = await kept.create(request_id=request_id)  # the caller, who heard nothing, tries again
    assert await kept.content(file) == b"hello"
    await consistent(kept)
    assert await kept.space() == Space(5, 1)


@pytest.mark.parametrize("commit", [1, 2])
@pytest.mark.parametrize("after", [False, True])
async def test_dying_while_a_piece_is_stored(kept: FileWorld, commit: int, after: bool) -> None:
    upload = await kept.begin(8)
    assert await kept.write(upload, 0, b"abcd") == 4
    with pytest.raises(Killed):
        await doomed(kept, commit, after=after).write(upload, 4, b"efgh")
    found = await kept.uploads.get(kept.call(), upload)
    assert found.received == (8 if after and commit == 2 else 4)
    assert await kept.write(upload, 4, b"efgh") == 8
    await consistent(kept)
    assert (await kept.complete(upload)).size_bytes == 8


@pytest.mark.parametrize("after", [False, True])
async def test_dying_while_an_upload_is_completed(kept: FileWorld, after: bool) -> None:
    request_id = "6f3c9a52-0d3e-4a51-8f5f-3a3f5e0b7a12"
    upload = await kept.begin(4)
    await kept.write(upload, 0, b"abcd")
    with pytest.raises(Killed):
        await doomed(kept, 1, after=after).complete(upload, request_id=request_id)
    file = await kept.complete(upload, request_id=request_id)
    assert file.sha256 == sha256(b"abcd")
    await consistent(kept)


@pytest.mark.parametrize("commit", [1, 2, 3])
@pytest.mark.parametrize("after", [False, True])
async def test_dying_while_objects_are_deleted(kept: FileWorld, commit: int, after: bool) -> None:
    files = [await kept.create() for _ in range(3)]
    dying = doomed(kept, commit, after=after)
    with suppress(Killed):
        await dying.delete(files[0])
        await dying.upkeep.collect()
    await consistent(kept)
    if commit > 1 or after:
        assert await kept.space() == Space(10, 2)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_storage_that_breaks_while_it_stores(kept: FileWorld, moment: str) -> None:
    upload = await kept.begin(4)
    for store in (kept.create, lambda: kept.write(upload, 0, b"abcd")):
        setattr(kept.objects, moment, "put")
        with pytest.raises(BrokenError):
            await store()
        assert await kept.upkeep.collect() == 1
        await consistent(kept)
        await store()
    await consistent(kept)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_storage_that_breaks_while_it_deletes(kept: FileWorld, moment: str) -> None:
    await kept.delete(await kept.create())
    setattr(kept.objects, moment, "delete")
    with pytest.raises(ExceptionGroup):
        await kept.upkeep.collect()
    await consistent(kept)
    assert await kept.stored() == set()


async def test_a_writer_that_was_given_up_does_not_name_a_deleted_object(kept: FileWorld) -> None:
    """Its process stood still for an hour, between storing the bytes and the row that names them."""
    upload = await kept.begin(4)
    real = kept.objects.put

    async def put_late(key: ObjectKey, data: bytes) -> None:
        await real(key, data)
        kept.world.clock.advance(WRITE_LIFE)
        assert await kept.upkeep.collect() == 1

    kept.objects.put = put_late  # type: ignore[method-assign]  # this one put is late
    for late in (kept.create(), kept.write(upload, 0, b"abcd")):
        with pytest.raises(Aborted):
            await late
    kept.objects.put = real  # type: ignore[method-assign]
    assert (await kept.uploads.get(kept.call(), upload)).received == 0
    await consistent(kept)


async def test_two_processes_that_sweep_do_it_once(kept: FileWorld) -> None:
    for _ in range(3):
        await kept.delete(await kept.create())
    for _ in range(2):
        upload = await kept.begin(2)
        await kept.write(upload, 0, b"ab")
    kept.world.clock.advance(kept.outside.rules.upload_life)
    other = FileUpkeep(kept.outside)
    ended = await asyncio.gather(kept.upkeep.expire(), other.expire())
    assert sum(ended) == 2
    await asyncio.gather(kept.upkeep.collect(), other.collect())
    assert (await kept.stored(), await kept.space()) == (set(), Space())


async def test_a_caller_who_goes_away_while_bytes_are_stored(kept: FileWorld) -> None:
    stored = asyncio.Event()
    real = kept.objects.put

    async def put(key: ObjectKey, data: bytes) -> None:
        await real(key, data)
        stored.set()
        await asyncio.Event().wait()

    kept.objects.put = put  # type: ignore[method-assign]  # this put never ends
    writing = asyncio.create_task(kept.create())
    await stored.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    kept.objects.put = real  # type: ignore[method-assign]
    assert len(await kept.stored()) == 1
    await consistent(kept)
    assert await kept.stored() == set()


def test_downloads_are_bounded_for_each_user_and_for_all() -> None:
    gate, ada, eve, bob = Turnstile(3, 2), Owner("t", "ada"), Owner("t", "eve"), Owner("t", "bob")
    with gate.one(ada), gate.one(ada):
        with pytest.raises(ResourceExhausted), gate.one(ada):
            pass
        with gate.one(eve), pytest.raises(ResourceExhausted), gate.one(bob):
            pass
    with gate.one(ada):
        pass
