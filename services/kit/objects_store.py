"""Object storage over `obstore`: a local folder or S3, chosen by one URL."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
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
    from obstore import Attributes, ObjectMeta
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
        return StoredObjects(_s3(url), limit, typed=True)
    if parts.scheme not in ("", "file") or (parts.scheme and (parts.netloc or parts.query)) or not parts.path:
        raise ValueError("object storage is a folder (a path or file:///path) or s3://bucket/prefix")
    folder = Path(unquote(parts.path) if parts.scheme else url).absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return StoredObjects(LocalStore(folder), limit, typed=False)


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

    def __init__(self, store: "ObjectStore", limit: int, *, typed: bool) -> None:
        """Keep objects of up to `limit` bytes; `typed` stores tell readers the content type themselves."""
        self._store = store
        self._limit = limit
        self._typed = typed

    async def put(self, key: ObjectKey, data: bytes) -> None:
        self._check(len(data))
        with _reaching(key):
            await obstore.put_async(self._store, str(key), data, attributes=self._attributes(key))

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
        return size

    async def get(self, key: ObjectKey) -> bytes:
        with _reaching(key):
            found = await obstore.get_async(self._store, str(key))
            self._check(found.meta["size"])
            return bytes(await found.bytes_async())

    async def stream(self, key: ObjectKey) -> AsyncIterator[bytes]:
        with _reaching(key):
            found = await obstore.get_async(self._store, str(key))
            async for chunk in found.stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    async def info(self, key: ObjectKey) -> ObjectInfo:
        with _reaching(key):
            return _info(await obstore.head_async(self._store, str(key)))

    async def delete(self, key: ObjectKey) -> None:
        with _reaching(key):
            try:
                await obstore.delete_async(self._store, str(key))
            except FileNotFoundError:
                return

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
        return {"Content-Type": key.content_type} if self._typed else None


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
