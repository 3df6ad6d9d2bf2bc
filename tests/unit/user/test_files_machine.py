"""Any sequence of uploads, pieces, ends, sweeps and waiting, held against a model that is a dictionary of bytes."""

import asyncio
import hashlib
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.kit.database import Database, DatabaseOptions
from services.kit.errors import CandelaError, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from services.kit.paging import PageRequest
from services.user.domain.files import FileRules, Space
from tests.unit.user.file_world import FileWorld, new_file_world
from tests.unit.user.world import new_world

RULES = FileRules(space=60, count=6, retention=timedelta(days=3), pieces=8)
DAY = timedelta(hours=24)
T = TypeVar("T")


@dataclass
class Expected:
    """What an upload must be: its bytes as they will be, how many of them are there, when it ends."""

    whole: bytes
    expires: datetime
    received: int = 0
    pieces: int = 0


class FilesMachine(RuleBasedStateMachine):
    """One user; every id that was ever given stays in the bundles."""

    uploads: Bundle[str] = Bundle("uploads")
    files: Bundle[str] = Bundle("files")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name)
        self.database = Database(f"sqlite+aiosqlite:///{path / 'user.db'}", DatabaseOptions(synchronous="NORMAL"))
        self.world = self.do(new_world(self.database))
        self.kept: FileWorld = self.do(new_file_world(self.world, path / "objects", RULES))
        self.open: dict[str, Expected] = {}
        self.stored: dict[str, tuple[bytes, datetime]] = {}

    def do(self, work: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.world.close()
        self.do(self.database.close())
        self.loop.close()
        self.folder.cleanup()

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    @property
    def used(self) -> Space:
        """What is taken until a sweep gives back what has ended."""
        sizes = [len(one.whole) for one in self.open.values()] + [len(content) for content, _ in self.stored.values()]
        return Space(sum(sizes), len(sizes))

    def fits(self, size: int) -> bool:
        return self.used.count < RULES.count and self.used.used + size <= RULES.space

    def living(self, upload: str) -> Expected | None:
        found = self.open.get(upload)
        return found if found is not None and found.expires > self.now else None

    @initialize(target=uploads)
    def begin_one(self) -> str:
        return self.begun(bytes(range(10)))

    @rule(target=uploads, whole=st.binary(min_size=1, max_size=20))
    def begin(self, whole: bytes) -> str:
        return self.begun(whole)

    def begun(self, whole: bytes) -> str:
        if not self.fits(len(whole)):
            with pytest.raises(ResourceExhausted):
                self.do(self.kept.begin(len(whole)))
            return "none"
        upload = self.do(self.kept.begin(len(whole)))
        self.open[upload] = Expected(whole, self.now + DAY)
        return upload

    @rule(target=files, content=st.binary(min_size=1, max_size=20))
    def create(self, content: bytes) -> str:
        if not self.fits(len(content)):
            with pytest.raises(ResourceExhausted):
                self.do(self.kept.create(content))
            return "none"
        file = self.do(self.kept.create(content))
        self.stored[file] = (content, self.now + timedelta(days=3))
        return file

    @rule(upload=uploads, offset=st.integers(0, 12), size=st.integers(1, 12))
    def write(self, upload: str, offset: int, size: int) -> None:
        expected = self.living(upload)
        piece = expected.whole[offset : offset + size] if expected else b"x"
        if expected is None:
            self.refused(NotFound, self.kept.write(upload, offset, piece))
        elif len(piece) < size:
            self.refused(InvalidArgument, self.kept.write(upload, offset, piece + bytes(size - len(piece))))
        elif offset > expected.received:
            refused = self.refused(FailedPrecondition, self.kept.write(upload, offset, piece))
            assert refused.metadata == {"received_bytes": str(expected.received)}
        elif offset + size > expected.received and expected.pieces >= RULES.pieces:
            self.refused(ResourceExhausted, self.kept.write(upload, offset, piece))
        else:
            self.added(expected, offset + size)
            assert self.do(self.kept.write(upload, offset, piece)) == expected.received

    @rule(upload=uploads, ends=st.lists(st.integers(1, 6), min_size=2, max_size=4))
    def race(self, upload: str, ends: list[int]) -> None:
        """Several calls go on where the upload is, each with as many bytes as it likes."""
        expected = self.living(upload)
        if expected is None or expected.received == len(expected.whole) or expected.pieces + len(ends) > RULES.pieces:
            return
        at = expected.received
        pieces = [expected.whole[at : at + size] for size in ends]

        async def together() -> list[int]:
            return await asyncio.gather(*(self.kept.write(upload, at, piece) for piece in pieces))

        assert max(self.do(together())) == at + max(map(len, pieces))
        found = self.do(self.kept.uploads.get(self.kept.call(), upload))
        expected.received, expected.pieces, expected.expires = found.received, found.pieces, self.now + DAY
        assert found.received == at + max(map(len, pieces))

    def added(self, expected: Expected, end: int) -> None:
        if end > expected.received:
            expected.received, expected.pieces = end, expected.pieces + 1
            expected.expires = self.now + DAY

    def refused(self, kind: type[CandelaError], work: Coroutine[object, object, object]) -> CandelaError:
        with pytest.raises(kind) as caught:
            self.do(work)
        return caught.value

    @rule(target=files, upload=uploads, lie=st.booleans())
    def complete(self, upload: str, lie: bool) -> str:
        expected = self.living(upload)
        if expected is None:
            self.refused(NotFound, self.kept.complete(upload))
        elif expected.received < len(expected.whole):
            self.refused(FailedPrecondition, self.kept.complete(upload))
        elif lie:
            self.refused(InvalidArgument, self.kept.complete(upload, "0" * 64))
        else:
            file = self.do(self.kept.complete(upload))
            assert file.sha256 == hashlib.sha256(expected.whole).hexdigest()
            self.stored[upload] = (self.open.pop(upload).whole, self.now + timedelta(days=3))
            return upload
        return "none"

    @rule(upload=uploads)
    def throw_away(self, upload: str) -> None:
        work = self.kept.uploads.delete(self.kept.call(), upload)
        if self.living(upload) is None:
            self.refused(NotFound, work)
        else:
            self.do(work)
            del self.open[upload]

    @rule(file=files)
    def delete(self, file: str) -> None:
        if file in self.stored and self.stored[file][1] > self.now:
            self.do(self.kept.delete(file))
            del self.stored[file]
        else:
            self.refused(NotFound, self.kept.delete(file))

    @rule(hours=st.sampled_from([1, 23, 24, 49]))
    def wait(self, hours: int) -> None:
        self.world.clock.advance(timedelta(hours=hours))

    @rule()
    def sweep(self) -> None:
        self.do(self.kept.upkeep.expire())
        self.open = {upload: one for upload, one in self.open.items() if one.expires > self.now}
        self.stored = {file: one for file, one in self.stored.items() if one[1] > self.now}

    @rule()
    def collect(self) -> None:
        """After it the storage holds the objects of pieces and no others."""
        self.do(self.kept.upkeep.collect())

        async def named() -> set[str]:
            async with self.kept.outside.units.read() as tx:
                held = [await tx.files.pieces(self.kept.owner, one) for one in (*self.open, *self.stored)]
            return {piece.object for pieces in held for piece in pieces}

        assert self.do(self.kept.stored()) == self.do(named())

    @invariant()
    def exactly_the_living_files_are_listed_with_their_bytes(self) -> None:
        living = {file: content for file, (content, expires) in self.stored.items() if expires > self.now}
        page = self.do(self.kept.files.page(self.kept.call(), "", PageRequest(100)))
        assert {file.id for file in page.items} == set(living)
        for file, content in living.items():
            assert self.do(self.kept.content(file)) == content

    @invariant()
    def uploads_are_as_far_as_was_said(self) -> None:
        for upload, expected in self.open.items():
            if self.living(upload):
                found = self.do(self.kept.uploads.get(self.kept.call(), upload))
                assert (found.received, found.expire_time) == (expected.received, expected.expires)

    @invariant()
    def the_space_is_what_is_kept(self) -> None:
        assert self.do(self.kept.space()) == self.used


@pytest.mark.timeout(180)
def test_any_sequence_keeps_the_contract() -> None:
    run_state_machine_as_test(FilesMachine, settings=settings(max_examples=25, stateful_step_count=30, deadline=None))
