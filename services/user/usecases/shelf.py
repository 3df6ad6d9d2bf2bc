"""Where the bytes of files are: storing them so that a crash leaves neither a hole nor an orphan, and reading them.

    key = await shelf.put(owner, content, content_type, check)      # a stray is committed, then the object is stored
    async with units.write(call) as tx:
        await shelf.take(tx, owner, key)                            # the stray goes in the transaction that names it
        await tx.files.add_piece(...)

A crash in between leaves the stray, and the collector deletes the object when the stray is overdue.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from services.kit.admission import Admission
from services.kit.clock import Clock
from services.kit.errors import Aborted, DataLoss, NotFound, ResourceExhausted
from services.kit.ids import Ids
from services.kit.live_settings import FILE_SPACE, Live
from services.kit.objects import ObjectKey, Objects, object_key
from services.kit.uow import Units
from services.user.domain.file_types import HEAD_BYTES, TEXT, UNKNOWN, sniff
from services.user.domain.files import FileRules, Owner, Piece, Stretch, stretches
from services.user.ports import UserTx
from services.user.ports.files import Stray

CHUNK = 1024 * 1024
# The gateway buffers the first message until it knows the content type that it holds, and has 256 KiB for that.
FIRST_CHUNK = 64 * 1024
# Far longer than a call may take: by then its writer is dead.
WRITE_LIFE = timedelta(hours=1)
_KIND = "files"
# Types that a stored object's name may say; the others are bytes.
_NAMED = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/tiff", "application/pdf"})


@dataclass(frozen=True, slots=True)
class FileOutside:
    """Everything that the use cases of files reach the world through."""

    units: Units[UserTx]
    clock: Clock
    ids: Ids
    objects: Objects
    rules: FileRules
    admission: Admission
    live: Live | None = None  # what admins have set; without it everything is as the process was started

    def rules_of(self, owner: Owner) -> FileRules:
        """Return what a user may keep now."""
        return replace(self.rules, space=self.live.get(FILE_SPACE, owner.tenant)) if self.live else self.rules


class Shelf:
    """The objects behind files."""

    def __init__(self, outside: FileOutside) -> None:
        self._outside = outside

    async def put(
        self,
        owner: Owner,
        content: bytes,
        check: Callable[[UserTx], Awaitable[None]],
        content_type: str = UNKNOWN,
    ) -> Stray:
        """Store bytes that no piece names yet; `check` refuses in the first transaction what need not be stored."""
        outside = self._outside
        kind = content_type if content_type in _NAMED else UNKNOWN
        key = object_key(owner.tenant, owner.user, _KIND, outside.ids.new(), kind)
        stray = Stray(owner, str(key))
        async with outside.units.write() as tx:
            await check(tx)
            await tx.strays.expect(stray, outside.clock.now() + WRITE_LIFE)
        try:
            await outside.objects.put(key, content)
        except Exception:
            await self.give_up(stray)
            raise
        return stray

    async def take(self, tx: UserTx, stray: Stray) -> None:
        """Let a piece name the object from now on; Aborted when it took so long that it was given up."""
        if not await tx.strays.take(stray):
            raise Aborted("storing took too long; send it again")

    async def give_up(self, stray: Stray) -> None:
        """Have an object deleted that was stored for nothing; one that was taken is left alone."""
        async with self._outside.units.write() as tx:
            await tx.strays.give_up(stray)

    async def read(self, parts: Sequence[Stretch]) -> AsyncIterator[bytes]:
        """Yield the bytes of some stretches, at most 64 KiB first and then 1 MiB; DataLoss where one is not whole."""
        most = FIRST_CHUNK
        for part in parts:
            left = part.size
            try:
                async for chunk in self._outside.objects.stream(ObjectKey.parse(part.object), part.start, part.size):
                    left -= len(chunk)
                    start = 0
                    while start < len(chunk):
                        yield chunk[start : start + most]
                        start, most = start + most, CHUNK
            except NotFound as error:
                raise _damaged(part) from error
            if left:
                raise _damaged(part)

    async def examine(self, pieces: Sequence[Piece], size: int) -> tuple[str, str]:
        """Return the SHA-256 and the media type of `size` stored bytes, reading them all, a MiB at a time."""
        digest, head = hashlib.sha256(), bytearray()
        async for chunk in self.read(stretches(pieces, 0, size)):
            if len(head) < HEAD_BYTES:
                head += chunk[: HEAD_BYTES - len(head)]
            await asyncio.to_thread(digest.update, chunk)
        whole = size <= HEAD_BYTES
        return digest.hexdigest(), await asyncio.to_thread(sniff, bytes(head), whole=whole)


def _damaged(part: Stretch) -> DataLoss:
    return DataLoss("some bytes of the file are gone from the storage", metadata={"object": part.object})


async def examine_bytes(content: bytes) -> tuple[str, str]:
    """Return the SHA-256 and the media type of some bytes."""

    def work() -> tuple[str, str]:
        found = sniff(content[:HEAD_BYTES], whole=len(content) <= HEAD_BYTES)
        return hashlib.sha256(content).hexdigest(), found

    return await asyncio.to_thread(work)


def served_type(content_type: str) -> str:
    """Return a file's type as a download says it: text is UTF-8, as it was recognised by that."""
    return f"{content_type}; charset=utf-8" if content_type == TEXT else content_type


class Turnstile:
    """Bounds the downloads at one time, of all users and of each: a slow reader holds a few MiB."""

    def __init__(self, total: int, each: int) -> None:
        self._total, self._each = total, each
        self._running: Counter[Owner] = Counter()

    @contextmanager
    def one(self, owner: Owner) -> Iterator[None]:
        """Count one through the block; ResourceExhausted (OVERLOADED) when there are too many."""
        if self._running[owner] >= self._each or self._running.total() >= self._total:
            raise ResourceExhausted("too many downloads are running", reason="OVERLOADED", retry_after=2.0)
        self._running[owner] += 1
        try:
            yield
        finally:
            self._running[owner] -= 1
            if not self._running[owner]:
                del self._running[owner]
