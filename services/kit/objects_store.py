"""Object storage over `obstore`: a local folder or S3, chosen by one URL.

A write that has returned is on the disk: obstore writes beside the object and renames, and what it leaves to the
operating system (`fsync` of the file and of the folders that name it) is done here. Bytes that are at hand go out in
one request: parts of a broken multipart upload would lie in a bucket unseen, and be paid for.
"""

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from services.kit.errors import InvalidArgument, NotFound, Unavailable
from services.kit.objects import ObjectInfo, ObjectKey

if TYPE_CHECKING:  # obstore has these for type checkers only
    from obstore import Attributes, GetOptions, ObjectMeta
    from obstore.store import ObjectStore, S3Config

DEFAULT_LIMIT = 64 * 1024 * 1024
_CHUNK = 1024 * 1024
_DELETE_AT_ONCE = 500
_S3_OPTIONS = {"endpoint", "region"}


def open_objects(url: str, limit: int = DEFAULT_LIMIT) -> "StoredObjects":
    """Return the storage that `CANDELA_OBJECTS_URL` names; objects above `limit` bytes are refused.

    `file:///folder` or a plain path is a local folder, made when missing, for this user only.
    `s3://bucket/prefix?region=…&endpoint=https://…` is S3 or what speaks like it; credentials come from where the AWS
    tools find them (AWS_ACCESS_KEY_ID …, or the machine's role). ValueError for another URL.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return StoredObjects(_s3(url), limit)
    if parts.scheme not in ("", "file") or (parts.scheme and (parts.netloc or parts.query)) or not parts.path:
        raise ValueError("object storage is a folder (a path or file:///path) or s3://bucket/prefix")
    folder = Path(unquote(parts.path) if parts.scheme else url).absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Empty folders go with their last object: their names are those of users.
    return StoredObjects(LocalStore(folder, automatic_cleanup=True), limit, folder)


def _s3(url: str) -> S3Store:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    if not parts.netloc or not options.keys() <= _S3_OPTIONS:
        raise ValueError("S3 storage is s3://bucket/prefix with nothing but region and endpoint after a question mark")
    endpoint = options.get("endpoint", "")
    plain = endpoint.startswith("http://")
    if plain and not _is_loopback(endpoint):
        raise ValueError("S3 without TLS is for this machine only: use an https endpoint")
    config: S3Config = {"region": options.get("region", "us-east-1")}
    if endpoint:
        config["endpoint"] = endpoint
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config=config,
        client_options={"allow_http": plain, "timeout": "30s", "connect_timeout": "5s"},
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
    )


def _is_loopback(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class StoredObjects:
    """Objects in an obstore store: every write appears whole (a rename locally, S3's own rule there)."""

    def __init__(self, store: "ObjectStore", limit: int, folder: Path | None = None) -> None:
        """Keep objects of up to `limit` bytes; `folder` is where a local store has them, None for another."""
        self._store = store
        self._limit = limit
        self._folder = folder

    async def put(self, key: ObjectKey, data: bytes) -> None:
        self._check(len(data))
        with _reaching(key):
            await obstore.put_async(self._store, str(key), data, attributes=self._attributes(key), use_multipart=False)
            await self._settle(key)

    async def put_stream(self, key: ObjectKey, chunks: AsyncIterable[bytes]) -> int:
        size = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for chunk in chunks:
                size += len(chunk)
                self._check(size)
                yield chunk

        with _reaching(key):
            await obstore.put_async(
                self._store, str(key), counted(), attributes=self._attributes(key), max_concurrency=2
            )
            await self._settle(key)
        return size

    async def get(self, key: ObjectKey) -> bytes:
        with _reaching(key):
            found = await obstore.get_async(self._store, str(key))
            self._check(found.meta["size"])
            return bytes(await found.bytes_async())

    async def stream(self, key: ObjectKey, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        if start < 0 or (length is not None and length <= 0):
            raise ValueError("a range begins at 0 or later and has a byte at least")
        with _reaching(key):
            found = await obstore.get_async(self._store, str(key), options=_range(start, length))
            async for chunk in found.stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    async def info(self, key: ObjectKey) -> ObjectInfo:
        with _reaching(key):
            return _info(await obstore.head_async(self._store, str(key)))

    async def delete(self, key: ObjectKey) -> None:
        with _reaching(key):
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, str(key))
            if self._folder is not None:
                await asyncio.to_thread(_delete_unfinished, self._folder / str(key), self._folder)

    async def list(self, tenant: str, owner: str = "") -> AsyncIterator[ObjectInfo]:
        prefix = _prefix(tenant, owner)
        with _reaching():
            async for batch in obstore.list(self._store, prefix=prefix, chunk_size=_DELETE_AT_ONCE):
                for meta in batch:
                    yield _info(meta)

    async def delete_all(self, tenant: str, owner: str) -> int:
        if not owner:
            raise ValueError("whose objects are to be deleted must be said")
        count = 0
        with _reaching():
            async for batch in obstore.list(self._store, prefix=_prefix(tenant, owner), chunk_size=_DELETE_AT_ONCE):
                await obstore.delete_async(self._store, [meta["path"] for meta in batch])
                count += len(batch)
        return count

    def _check(self, size: int) -> None:
        if size > self._limit:
            metadata = {"limit_bytes": str(self._limit)}
            message = f"an object may have {self._limit} bytes"
            raise InvalidArgument(message, reason="REQUEST_TOO_LARGE", metadata=metadata)

    def _attributes(self, key: ObjectKey) -> "Attributes | None":
        return {"Content-Type": key.content_type} if self._folder is None else None

    async def _settle(self, key: ObjectKey) -> None:
        """Return when a local object would outlive a power failure; S3 answers only then."""
        if self._folder is not None:
            await asyncio.to_thread(_sync, self._folder / str(key), self._folder)


def _sync(path: Path, top: Path) -> None:
    """Write a file and its name to the disk: the name is in its folder, the folder's name in the one above."""
    for one in (path, *path.parents):
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if one == top:
            return


def _delete_unfinished(path: Path, top: Path) -> None:
    """Delete what obstore had written of an object when its process was killed, `name#1` beside `name`."""
    unfinished = list(path.parent.glob(f"{path.name}#*"))
    for part in unfinished:
        part.unlink(missing_ok=True)
    if unfinished:
        with suppress(OSError):  # ends at the first folder that holds something else
            for folder in path.parents[: len(path.relative_to(top).parents) - 1]:
                folder.rmdir()


def _range(start: int, length: int | None) -> "GetOptions | None":
    if length is not None:
        return {"range": (start, start + length)}
    return {"range": {"offset": start}} if start else None


def _prefix(tenant: str, owner: str) -> str:
    """Return the folder of a tenant or user, checked like a key."""
    key = ObjectKey((tenant, owner or "any", "any.bin"))
    return f"{key.tenant}/{key.owner}" if owner else key.tenant


def _info(meta: "ObjectMeta") -> ObjectInfo:
    return ObjectInfo(ObjectKey.parse(meta["path"]), meta["size"], meta["last_modified"])


@contextmanager
def _reaching(key: ObjectKey | None = None) -> Iterator[None]:
    """Turn the storage's errors into ours."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("there is no such object", metadata={"object": str(key or "")}) from error
    except (BaseError, OSError) as error:
        raise Unavailable("object storage does not answer", metadata={"part": "objects"}, retry_after=1.0) from error
