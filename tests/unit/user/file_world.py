"""The use cases of files put together for tests: a real database, a real folder, a clock that tests turn."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from candela.user.v1 import file_pb2
from services.kit.admission import Admission
from services.kit.call import Call
from services.kit.idempotency import Replies
from services.kit.ids import RandomIds
from services.kit.objects import ObjectInfo, ObjectKey, Objects
from services.kit.objects_store import open_objects
from services.user.api.files import file_message, upload_message
from services.user.api.mapping import nothing
from services.user.domain.accounts import User
from services.user.domain.files import FILE_BYTES, FileRules, Owner, Space
from services.user.usecases.file_upkeep import FileUpkeep
from services.user.usecases.files import Files
from services.user.usecases.shelf import WRITE_LIFE, FileOutside, Shelf
from services.user.usecases.uploads import Uploads
from tests.unit.user.world import World

RULES = FileRules(space=1000, count=5, pieces=6)


class BrokenError(Exception):
    """What a process that is killed in the middle looks like to the code after it."""


@dataclass
class FragileObjects:
    """A storage that can be told to break at the next call, before or after it has done what it was asked."""

    real: Objects
    before: str = ""
    after: str = ""
    puts: int = 0

    def _now(self, name: str, moment: str) -> None:
        if getattr(self, moment) == name:
            setattr(self, moment, "")
            raise BrokenError(f"{moment} {name}")

    async def put(self, key: ObjectKey, data: bytes) -> None:
        self._now("put", "before")
        self.puts += 1
        await self.real.put(key, data)
        self._now("put", "after")

    async def put_stream(self, key: ObjectKey, chunks: object) -> int:
        raise NotImplementedError("files are stored in one piece")

    async def get(self, key: ObjectKey) -> bytes:
        return await self.real.get(key)

    def stream(self, key: ObjectKey, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        self._now("stream", "before")
        return self.real.stream(key, start, length)

    async def info(self, key: ObjectKey) -> ObjectInfo:
        return await self.real.info(key)

    async def delete(self, key: ObjectKey) -> None:
        self._now("delete", "before")
        await self.real.delete(key)
        self._now("delete", "after")

    def list(self, tenant: str, owner: str = "") -> AsyncIterator[ObjectInfo]:
        return self.real.list(tenant, owner)

    async def delete_all(self, tenant: str, owner: str) -> int:
        return await self.real.delete_all(tenant, owner)


@dataclass
class FileWorld:
    """The use cases and everything under them."""

    world: World
    outside: FileOutside
    objects: FragileObjects
    shelf: Shelf
    files: Files
    uploads: Uploads
    upkeep: FileUpkeep
    user: User
    replies: Replies = field(default_factory=Replies)

    @property
    def owner(self) -> Owner:
        return Owner(self.user.tenant, self.user.id)

    def call(self, user: User | None = None, *, request_id: str = "", body: str = "") -> Call:
        return self.world.call(user or self.user, request_id=request_id, body=body)

    async def create(self, content: bytes = b"hello", filename: str = "a.txt", *, request_id: str = "") -> str:
        """Store a file as the servicer does and return its id."""
        call = self.call(request_id=request_id, body=f"{filename} {content!r}")
        made = await self.replies.run(
            call, file_pb2.File, lambda call: self.files.create(call, filename, content), file_message
        )
        return made.name.removeprefix("files/")

    async def begin(self, size: int, *, request_id: str = "") -> str:
        """Begin an upload and return its id."""
        call = self.call(request_id=request_id, body=str(size))
        made = await self.replies.run(
            call, file_pb2.Upload, lambda call: self.uploads.begin(call, "big.bin", size), upload_message
        )
        return made.name.removeprefix("uploads/")

    async def write(self, upload: str, offset: int, content: bytes, *, request_id: str = "") -> int:
        """Send a piece and return how many bytes have arrived."""
        call = self.call(request_id=request_id, body=f"{upload} {offset} {content!r}")
        after = await self.replies.run(
            call, file_pb2.Upload, lambda call: self.uploads.write(call, upload, offset, content), upload_message
        )
        return after.received_bytes

    async def complete(self, upload: str, sha256: str = "", *, request_id: str = "") -> file_pb2.File:
        call = self.call(request_id=request_id, body=f"{upload} {sha256}")
        return await self.replies.run(
            call, file_pb2.File, lambda call: self.uploads.complete(call, upload, sha256), file_message
        )

    async def delete(self, file: str, *, request_id: str = "") -> None:
        call = self.call(request_id=request_id, body=file)
        await self.replies.run(call, file_pb2.File, lambda call: self.files.delete(call, file), _none)

    async def content(self, file: str, offset: int = 0, limit: int = 0) -> bytes:
        _, chunks = await self.files.download(self.call(), file, offset, limit)
        return b"".join([chunk async for chunk in chunks])

    async def space(self, owner: Owner | None = None) -> Space:
        async with self.outside.units.write() as tx:
            found = await tx.files.lock_space(owner or self.owner)
        assert found is not None
        return found

    async def stored(self) -> set[str]:
        """Return the names of all objects in the storage."""
        return {str(info.key) async for info in self.objects.list("default")}

    async def swept(self) -> None:
        """Let more time pass than a write may take, and let the upkeep do its rounds."""
        self.world.clock.advance(WRITE_LIFE)
        await self.upkeep.expire()
        await self.upkeep.collect()


def _none(_: object) -> file_pb2.File:
    nothing(_)
    return file_pb2.File()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def new_file_world(world: World, folder: Path, rules: FileRules = RULES, waiting: int = 2000) -> FileWorld:
    """Make the use cases over a world and a folder, and somebody who keeps files."""
    objects = FragileObjects(open_objects(str(folder), FILE_BYTES))
    outside = FileOutside(
        units=world.units,
        clock=world.clock,
        ids=RandomIds(world.clock),
        objects=objects,
        rules=rules,
        admission=Admission(running=2, waiting_bytes=waiting),
    )
    shelf = Shelf(outside)
    return FileWorld(
        world=world,
        outside=outside,
        objects=objects,
        shelf=shelf,
        files=Files(outside, shelf),
        uploads=Uploads(outside, shelf),
        upkeep=FileUpkeep(outside),
        user=await world.register(),
    )
