"""Files: store, list, look at, fetch and delete."""

from collections.abc import AsyncGenerator
from dataclasses import replace

from services.kit.call import Call
from services.kit.errors import DataLoss
from services.kit.paging import Page, PageRequest
from services.user.domain.accounts import no_such_user
from services.user.domain.files import (
    File,
    Owner,
    Piece,
    Space,
    bytes_to_send,
    clean_filename,
    expire_time,
    no_such_file,
    stretches,
)
from services.user.ports import UserTx
from services.user.ports.files import Stray
from services.user.usecases.common import signed_in
from services.user.usecases.shelf import FileOutside, Shelf, Turnstile, examine_bytes


class Files:
    """What a user does with files that are complete."""

    def __init__(self, outside: FileOutside, shelf: Shelf) -> None:
        self._outside = outside
        self._shelf = shelf
        self._downloads = Turnstile(outside.rules.downloads, outside.rules.downloads_each)

    async def create(self, call: Call, filename: str, content: bytes) -> File:
        """Store a file.

        Raises InvalidArgument for its name, ResourceExhausted when the space is used up (QUOTA_EXCEEDED) or too many
        bytes are arriving (OVERLOADED), Unavailable without storage; nothing is kept then.
        """
        outside, owner = self._outside, owner_of(call)
        name = clean_filename(filename)
        await outside.units.check_replay(call)
        async with outside.admission.admit(len(content)):
            sha256, content_type = await examine_bytes(content)

            async def fits(tx: UserTx) -> None:
                await self._space_for(tx, owner, len(content))

            stored = await self._shelf.put(owner, content, fits, content_type)
        now = outside.clock.now()
        file = File(
            owner=owner,
            id=outside.ids.new(),
            filename=name,
            content_type=content_type,
            size=len(content),
            sha256=sha256,
            create_time=now,
            expire_time=expire_time(now, outside.rules),
        )
        try:
            await self._keep(call, file, stored)
        except Exception:  # a replay, a space that filled up meanwhile, an account that is gone
            await self._shelf.give_up(stored)
            raise
        return file

    async def _keep(self, call: Call, file: File, stored: Stray) -> None:
        owner = file.owner
        async with self._outside.units.write(call) as tx:
            space = await self._space_for(tx, owner, file.size)
            await self._shelf.take(tx, stored)
            await tx.files.add(file)
            await tx.files.add_piece(owner, file.id, Piece(0, 0, file.size, stored.object))
            await tx.files.save_space(owner, space)
            tx.reply(file, owner=owner.user)

    async def _space_for(self, tx: UserTx, owner: Owner, size: int) -> Space:
        return (await locked_space(tx, owner)).with_one_more(size, self._outside.rules_of(owner))

    async def get(self, call: Call, file_id: str) -> File:
        """Return one of the caller's files; NotFound when there is none of that id."""
        async with self._outside.units.read() as tx:
            return await self._found(tx, owner_of(call), file_id)

    async def page(self, call: Call, prefix: str, wanted: PageRequest) -> Page[File]:
        """Return a page of the caller's files whose type begins with `prefix`, the newest first."""
        async with self._outside.units.read() as tx:
            return await tx.files.page(owner_of(call), prefix, self._outside.clock.now(), wanted)

    async def download(
        self, call: Call, file_id: str, offset: int, limit: int
    ) -> tuple[File, AsyncGenerator[bytes, None]]:
        """Return a file and its bytes from `offset` on, at most `limit` (0: all) in chunks of up to 1 MiB.

        Raises NotFound, and InvalidArgument for an offset beyond the end. The chunks raise DataLoss when the storage
        has lost some, NotFound when the file is deleted meanwhile, ResourceExhausted when too many downloads run.
        """
        owner = owner_of(call)
        async with self._outside.units.read() as tx:
            file = await self._found(tx, owner, file_id)
            size = bytes_to_send(file, offset, limit)
            pieces = await tx.files.pieces(owner, file_id)
        return file, self._bytes(call, file, pieces, offset, size)

    async def _bytes(
        self, call: Call, file: File, pieces: list[Piece], offset: int, size: int
    ) -> AsyncGenerator[bytes, None]:
        with self._downloads.one(file.owner):
            try:
                async for chunk in self._shelf.read(stretches(pieces, offset, size)):
                    yield chunk
            except DataLoss:
                await self.get(call, file.id)  # NotFound when it was deleted under our hands
                raise

    async def delete(self, call: Call, file_id: str) -> None:
        """Delete one of the caller's files for good; NotFound when there is none of that id."""
        owner = owner_of(call)
        async with self._outside.units.write(call) as tx:
            space = await locked_space(tx, owner)
            file = await self._found(tx, owner, file_id)
            await tx.files.delete(file, self._outside.clock.now())
            await tx.files.save_space(owner, without(space, file.size))
            tx.reply(None)

    async def _found(self, tx: UserTx, owner: Owner, file_id: str) -> File:
        file = await tx.files.get(owner, file_id, self._outside.clock.now())
        if file is None:
            raise no_such_file(file_id)
        return file


def owner_of(call: Call) -> Owner:
    """Return whose files a call is about: the caller's, who must be a user."""
    caller = signed_in(call)
    return Owner(caller.tenant, caller.user)


async def locked_space(tx: UserTx, owner: Owner) -> Space:
    """Return a user's space, locked; NotFound when the account is gone."""
    space = await tx.files.lock_space(owner)
    if space is None:
        raise no_such_user()
    return space


def without(space: Space, size: int) -> Space:
    """Return the space after a file or upload of `size` bytes is gone."""
    return replace(space, used=space.used - size, count=space.count - 1)
