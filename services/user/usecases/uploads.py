"""Uploads: large files in pieces, each of which is safe once it is acknowledged."""

import asyncio

from services.kit.call import Call
from services.user.domain import files
from services.user.domain.files import File, Owner, Upload, clean_filename, expire_time, is_there, no_such_upload
from services.user.ports import UserTx
from services.user.ports.files import Stray
from services.user.usecases.files import locked_space, owner_of, without
from services.user.usecases.shelf import FileOutside, Shelf

_EXAMINED_AT_ONCE = 2


class Uploads:
    """The life of an upload. Its space is taken when it begins, so that nobody runs out of it at the end."""

    def __init__(self, outside: FileOutside, shelf: Shelf) -> None:
        self._outside = outside
        self._shelf = shelf
        # Reading 2 GiB takes seconds of disk and processor; more at once would make each slower.
        self._examining = asyncio.Semaphore(_EXAMINED_AT_ONCE)

    async def begin(self, call: Call, filename: str, size: int) -> Upload:
        """Begin an upload; InvalidArgument for its name, ResourceExhausted (QUOTA_EXCEEDED) when it does not fit."""
        outside, owner = self._outside, owner_of(call)
        name = clean_filename(filename)
        now = outside.clock.now()
        upload = Upload(owner, outside.ids.new(), name, size, 0, 0, now, now + outside.rules.upload_life)
        async with outside.units.write(call) as tx:
            space = await locked_space(tx, owner)
            await tx.files.save_space(owner, space.with_one_more(size, outside.rules_of(owner)))
            await tx.uploads.add(upload)
            tx.reply(upload)
        return upload

    async def get(self, call: Call, upload_id: str) -> Upload:
        """Return one of the caller's uploads; NotFound when there is none of that id."""
        async with self._outside.units.read() as tx:
            return await self._found(tx, owner_of(call), upload_id)

    async def write(self, call: Call, upload_id: str, offset: int, content: bytes) -> Upload:
        """Add a piece and return the upload; see domain.files.check_piece for what is refused.

        What was there before is left as it is: only the bytes beyond `received` count. Of several calls with the same
        piece one takes effect.
        """
        outside, owner, size = self._outside, owner_of(call), len(content)
        await outside.units.check_replay(call)
        upload = await self.get(call, upload_id)
        files.check_piece(upload, offset, size, outside.rules)
        if is_there(upload, offset, size):
            return await self._append(call, upload_id, offset, size, None)

        async def wanted(tx: UserTx) -> None:
            now = await self._found(tx, owner, upload_id)
            files.check_piece(now, offset, size, outside.rules)

        async with outside.admission.admit(size):
            stored = await self._shelf.put(owner, content, wanted)
        try:
            after = await self._append(call, upload_id, offset, size, stored)
        except Exception:  # a replay, or the upload was thrown away meanwhile
            await self._shelf.give_up(stored)
            raise
        return after

    async def _append(self, call: Call, upload_id: str, offset: int, size: int, stored: Stray | None) -> Upload:
        outside, owner = self._outside, owner_of(call)
        async with outside.units.write(call) as tx:
            upload = await self._found(tx, owner, upload_id, lock=True)
            if stored is not None and is_there(upload, offset, size):  # another call was quicker
                await tx.strays.give_up(stored)
            elif stored is not None:
                files.check_piece(upload, offset, size, outside.rules)
                now = outside.clock.now()
                upload, piece = files.with_piece(upload, offset, size, stored.object, now, outside.rules)
                await self._shelf.take(tx, stored)
                await tx.files.add_piece(owner, upload_id, piece)
                await tx.uploads.update(upload)
            tx.reply(upload)
        return upload

    async def complete(self, call: Call, upload_id: str, sha256: str) -> File:
        """Make a file of an upload; FailedPrecondition when bytes are missing, InvalidArgument for another SHA-256."""
        outside, owner = self._outside, owner_of(call)
        await outside.units.check_replay(call)
        async with outside.units.read() as tx:
            upload = await self._found(tx, owner, upload_id)
            files.check_complete(upload)
            pieces = await tx.files.pieces(owner, upload_id)
        async with self._examining:
            found, content_type = await self._shelf.examine(pieces, upload.size)
        files.check_sha256(sha256, found)
        now = outside.clock.now()
        file = File(
            owner=owner,
            id=upload.id,  # the pieces stay where they are and become the file's
            filename=upload.filename,
            content_type=content_type,
            size=upload.size,
            sha256=found,
            create_time=now,
            expire_time=expire_time(now, outside.rules),
        )
        async with outside.units.write(call) as tx:
            await locked_space(tx, owner)  # the account is there until this is committed
            await tx.uploads.finish(await self._found(tx, owner, upload_id, lock=True))
            await tx.files.add(file)
            tx.reply(file)
        return file

    async def delete(self, call: Call, upload_id: str) -> None:
        """Throw an upload away; NotFound when there is none of that id."""
        outside, owner = self._outside, owner_of(call)
        async with outside.units.write(call) as tx:
            space = await locked_space(tx, owner)
            upload = await self._found(tx, owner, upload_id, lock=True)
            await tx.uploads.delete(upload, outside.clock.now())
            await tx.files.save_space(owner, without(space, upload.size))
            tx.reply(None)

    async def _found(self, tx: UserTx, owner: Owner, upload_id: str, *, lock: bool = False) -> Upload:
        upload = await tx.uploads.get(owner, upload_id, self._outside.clock.now(), lock=lock)
        if upload is None:
            raise no_such_upload(upload_id)
        return upload
