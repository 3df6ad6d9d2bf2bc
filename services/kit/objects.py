"""Object storage as services see it: files of a tenant's user, under keys that cannot lead anywhere else.

A key is `tenant/owner/kind/name.ext` in lower case. Its parts are letters, digits, `-`, `_` and `.`, and begin with a
letter or digit, so that no key climbs out of its folder, hides, or means another key on a file system that ignores
case. The extension *is* the content type: a file on disk opens in any viewer, and name and type cannot disagree.

    key = object_key(caller.tenant, caller.user, "originals", ids.new(), "image/png")
    await objects.put(key, data)                      # before the row that names it: an orphan is swept, a hole is not
"""

import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.kit.errors import InvalidArgument

_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_MIN_PARTS, _MAX_PARTS = 3, 8
_CONTENT_TYPES = {
    "bin": "application/octet-stream",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "jpg": "image/jpeg",
    "json": "application/json",
    "mp4": "video/mp4",
    "npy": "application/x-npy",
    "pdf": "application/pdf",
    "png": "image/png",
    "tiff": "image/tiff",
    "txt": "text/plain; charset=utf-8",
    "webm": "video/webm",
    "webp": "image/webp",
}
_EXTENSIONS = {content_type: extension for extension, content_type in _CONTENT_TYPES.items()}


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """Where an object is: tenant, owner (a user id), name, and what stands between. InvalidArgument for bad parts."""

    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not _MIN_PARTS <= len(self.parts) <= _MAX_PARTS or not all(map(_PART.fullmatch, self.parts)):
            raise InvalidArgument("this is not the name of a stored object")
        if self.parts[-1].rpartition(".")[2] not in _CONTENT_TYPES:
            raise _unsupported(self.parts[-1])

    @classmethod
    def parse(cls, text: str) -> "ObjectKey":
        """Return the key that `str` wrote; InvalidArgument for anything else."""
        return cls(tuple(text.split("/")))

    def __str__(self) -> str:
        return "/".join(self.parts)

    @property
    def tenant(self) -> str:
        return self.parts[0]

    @property
    def owner(self) -> str:
        return self.parts[1]

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPES[self.parts[-1].rpartition(".")[2]]


def object_key(tenant: str, owner: str, kind: str, name: str, content_type: str) -> ObjectKey:
    """Return the key of one object; InvalidArgument (MEDIA_UNSUPPORTED) for a content type that is not stored."""
    if content_type not in _EXTENSIONS:
        raise _unsupported(content_type)
    return ObjectKey((tenant, owner, kind, f"{name}.{_EXTENSIONS[content_type]}"))


def _unsupported(what: str) -> InvalidArgument:
    metadata = {"supported": ", ".join(sorted(_EXTENSIONS))}
    return InvalidArgument(
        f"{what!r} is not a kind of file that is stored", reason="MEDIA_UNSUPPORTED", metadata=metadata
    )


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of a stored object; `size` in bytes, `modified` in UTC."""

    key: ObjectKey
    size: int
    modified: datetime


class Objects(Protocol):
    """Stores whole objects: a reader sees all of an object or none of it, also while it is overwritten.

    What `put` and `put_stream` have returned for outlives a crash of the process and of the machine.

    Every method raises Unavailable when the storage is away.
    """

    async def put(self, key: ObjectKey, data: bytes) -> None:
        """Store or overwrite; InvalidArgument (REQUEST_TOO_LARGE) above the limit."""

    async def put_stream(self, key: ObjectKey, chunks: AsyncIterable[bytes]) -> int:
        """Store what comes in pieces and return its size; nothing is stored when they fail or exceed the limit."""

    async def get(self, key: ObjectKey) -> bytes:
        """Return an object's bytes; NotFound when there is none."""

    def stream(self, key: ObjectKey, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield an object's bytes in pieces of about 1 MiB; NotFound when there is none.

        `start` skips bytes and `length` bounds what follows, all when None. ValueError for a range without a byte.
        """

    async def info(self, key: ObjectKey) -> ObjectInfo:
        """Return what is known of an object; NotFound when there is none."""

    async def delete(self, key: ObjectKey) -> None:
        """Delete an object; one that is not there is deleted already."""

    def list(self, tenant: str, owner: str = "") -> AsyncIterator[ObjectInfo]:
        """Yield a tenant's or one user's objects, in no order."""

    async def delete_all(self, tenant: str, owner: str) -> int:
        """Delete every object of one user (erasure); return how many there were."""
