"""What files need from the database: files, uploads, their pieces, the space of users, and objects that are nobody's.

Every stored object is named by a piece or is a *stray*: about to be written, or about to be deleted. The row of a stray
is committed before the first byte of its object is stored and leaves in the transaction that names the object, so that
no crash leaves an object that nothing knows of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.kit.paging import Page, PageRequest
from services.user.domain.files import File, Owner, Piece, Space, Upload


class FileRows(Protocol):
    """Files and the space that files and uploads take."""

    async def lock_space(self, owner: Owner) -> Space | None:
        """Return a user's space, None when the account is gone; nobody else changes either in this transaction."""

    async def save_space(self, owner: Owner, space: Space) -> None:
        """Store a space that was locked."""

    async def add(self, file: File) -> None:
        """Store a new file; its pieces are stored apart."""

    async def get(self, owner: Owner, file: str, now: datetime) -> File | None:
        """Return a file, None when there is none or its time is over."""

    async def page(self, owner: Owner, prefix: str, now: datetime, wanted: PageRequest) -> Page[File]:
        """Return a page of a user's files whose type begins with `prefix`, the newest first."""

    async def pieces(self, owner: Owner, holder: str) -> list[Piece]:
        """Return the pieces of a file or upload in their order."""

    async def add_piece(self, owner: Owner, holder: str, piece: Piece) -> None:
        """Store a piece of a file or upload."""

    async def delete(self, file: File, now: datetime) -> bool:
        """Remove a file, make its objects strays to delete; False when it was gone."""

    async def expired(self, now: datetime, limit: int) -> list[File]:
        """Return files of all users whose time is over."""

    async def erase(self, owner: Owner, now: datetime) -> int:
        """Remove everything of one user, whose account is locked; its objects become strays to delete.

        Returns how many objects there were. A write under way finds its account gone and leaves a stray.
        """


class UploadRows(Protocol):
    """Uploads that are not complete."""

    async def add(self, upload: Upload) -> None:
        """Store a new upload."""

    async def get(self, owner: Owner, upload: str, now: datetime, *, lock: bool = False) -> Upload | None:
        """Return an upload, None when there is none or its time is over."""

    async def update(self, upload: Upload) -> None:
        """Store an upload that was read with `lock`."""

    async def finish(self, upload: Upload) -> None:
        """Remove an upload that was read with `lock`; its pieces are those of the file of the same id."""

    async def delete(self, upload: Upload, now: datetime) -> bool:
        """Remove an upload, make its objects strays to delete; False when it was gone or another piece has come."""

    async def expired(self, now: datetime, limit: int) -> list[Upload]:
        """Return uploads of all users whose time is over."""


@dataclass(frozen=True, slots=True)
class Stray:
    """An object that no piece names."""

    owner: Owner
    object: str


class Strays(Protocol):
    """Objects that are being written, until `due`, and objects to delete."""

    async def expect(self, stray: Stray, due: datetime) -> None:
        """Remember an object that is about to be written; it is deleted after `due` unless it is taken."""

    async def take(self, stray: Stray) -> bool:
        """Forget an object because a piece names it from now on; False when it was given up: it may be deleted."""

    async def give_up(self, stray: Stray) -> None:
        """Have an expected object deleted now."""

    async def give_up_due(self, now: datetime) -> int:
        """Have every expected object deleted that is overdue; return how many there are."""

    async def given_up(self, limit: int) -> list[Stray]:
        """Return objects to delete."""

    async def forget(self, strays: Sequence[Stray]) -> None:
        """Forget objects that are deleted."""
