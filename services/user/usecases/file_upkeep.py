"""What happens to files by itself: their time ends, uploads are abandoned, objects that nobody names are deleted."""

import asyncio
from datetime import datetime

from services.kit.objects import ObjectKey
from services.user.domain.files import File, Upload
from services.user.ports.files import Stray
from services.user.usecases.files import without
from services.user.usecases.shelf import FileOutside

_BATCH = 200
_AT_ONCE = 16  # objects deleted at one time


class FileUpkeep:
    """Background work; each method is one round of it, and several processes may do it at the same time."""

    def __init__(self, outside: FileOutside) -> None:
        self._outside = outside

    async def expire(self) -> int:
        """Delete files whose time is over and uploads that were abandoned; return how many there were."""
        now, ended = self._outside.clock.now(), 0
        while True:
            async with self._outside.units.read() as tx:
                due: list[File | Upload] = [*await tx.files.expired(now, _BATCH)]
                due += await tx.uploads.expired(now, _BATCH)
            for one in due:
                ended += await self._end(one, now)
            if len(due) < _BATCH:
                return ended

    async def _end(self, one: File | Upload, now: datetime) -> bool:
        async with self._outside.units.write() as tx:
            space = await tx.files.lock_space(one.owner)
            gone = await tx.files.delete(one, now) if isinstance(one, File) else await tx.uploads.delete(one, now)
            if gone and space is not None:
                await tx.files.save_space(one.owner, without(space, one.size))
            return gone

    async def collect(self) -> int:
        """Delete the objects that are given up, among them those whose writer died; return how many.

        A stray is given up in a transaction before its object is deleted: a writer that is late finds that out.
        """
        collected = 0
        now = self._outside.clock.now()
        async with self._outside.units.write() as tx:
            await tx.strays.give_up_due(now)
        while True:
            async with self._outside.units.read() as tx:
                strays = await tx.strays.given_up(_BATCH)
            await self._delete(strays)
            if strays:
                async with self._outside.units.write() as tx:
                    await tx.strays.forget(strays)
            collected += len(strays)
            if len(strays) < _BATCH:
                return collected

    async def _delete(self, strays: list[Stray]) -> None:
        places = asyncio.Semaphore(_AT_ONCE)

        async def delete(stray: Stray) -> None:
            async with places:
                await self._outside.objects.delete(ObjectKey.parse(stray.object))

        async with asyncio.TaskGroup() as group:
            for stray in strays:
                group.create_task(delete(stray))
