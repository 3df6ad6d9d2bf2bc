"""Object storage: whole objects, under keys that lead nowhere else, in a folder and in S3."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import InvalidArgument, NotFound, Unavailable
from services.kit.objects import ObjectKey, Objects, object_key
from services.kit.objects_store import open_objects

KEY = object_key("default", "ada", "originals", "01h", "image/png")
LIMIT = 12 * 1024 * 1024
# What paths are made of when somebody means harm.
EVIL_PARTS = (
    "..", ".", "/", "\\", "~", "%2e%2e", "%2f", "\0", "a", "A", "é", ".hidden", "con", "#1", "$(id)", " ", "png",
)  # fmt: skip
EVIL = st.lists(st.sampled_from(EVIL_PARTS), min_size=1, max_size=12).map("".join)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, folder: Path) -> Objects:
    if request.param == "folder":
        return open_objects(str(folder), LIMIT)
    url: str = request.getfixturevalue("s3_url")
    return open_objects(url, LIMIT)


async def pieces(count: int, *, fail: bool = False) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number]) * 1_000_000
    if fail:
        raise RuntimeError("the sender went away")


async def test_what_is_put_comes_back(objects: Objects) -> None:
    before = datetime.now(UTC)
    await objects.put(KEY, b"picture")
    assert await objects.get(KEY) == b"picture"
    info = await objects.info(KEY)
    assert (info.key, info.size, info.key.content_type) == (KEY, 7, "image/png")
    assert abs((info.modified - before).total_seconds()) < 5
    await objects.put(KEY, b"")
    assert await objects.get(KEY) == b""


async def test_pieces_become_one_object_and_come_back_in_pieces(objects: Objects) -> None:
    assert await objects.put_stream(KEY, pieces(11)) == 11_000_000
    chunks = [chunk async for chunk in objects.stream(KEY)]
    assert len(chunks) > 1
    assert b"".join(chunks) == b"".join([chunk async for chunk in pieces(11)])


async def test_a_stream_that_breaks_leaves_what_was_there(objects: Objects) -> None:
    await objects.put(KEY, b"first")
    with pytest.raises(RuntimeError, match="went away"):
        await objects.put_stream(KEY, pieces(9, fail=True))
    assert await objects.get(KEY) == b"first"
    assert [info.key async for info in objects.list("default")] == [KEY]


async def test_objects_above_the_limit_are_refused(objects: Objects) -> None:
    for refused in (objects.put(KEY, bytes(LIMIT + 1)), objects.put_stream(KEY, pieces(13))):
        with pytest.raises(InvalidArgument) as caught:
            await refused
        assert caught.value.reason == "REQUEST_TOO_LARGE"
        assert caught.value.metadata == {"limit_bytes": str(LIMIT)}
    with pytest.raises(NotFound):
        await objects.info(KEY)


async def test_what_is_not_there(objects: Objects) -> None:
    for missing in (objects.get(KEY), objects.info(KEY), anext(objects.stream(KEY))):
        with pytest.raises(NotFound):
            await missing
    await objects.delete(KEY)
    assert [info async for info in objects.list("default")] == []


async def test_erasing_a_user_takes_his_objects_and_no_others(objects: Objects) -> None:
    his = [object_key("default", "ada", kind, "1", "image/png") for kind in ("originals", "enhanced")]
    others = [
        object_key("default", "ada2", "originals", "1", "image/png"),
        object_key("default2", "ada", "originals", "1", "image/png"),
    ]
    for key in his + others:
        await objects.put(key, b"1")
    assert {info.key async for info in objects.list("default")} == {*his, others[0]}
    assert {info.key async for info in objects.list("default", "ada")} == set(his)
    assert await objects.delete_all("default", "ada") == 2
    assert [info async for info in objects.list("default", "ada")] == []
    for key in others:
        assert await objects.get(key) == b"1"


async def test_a_reader_sees_one_version_or_the_other(objects: Objects) -> None:
    versions = [bytes([number]) * 200_000 for number in range(4)]
    await objects.put(KEY, versions[0])

    async def write() -> None:
        for version in versions * 4:
            await objects.put(KEY, version)

    writing = asyncio.create_task(write())
    while not writing.done():
        assert await objects.get(KEY) in versions
    await writing


@pytest.fixture
def lost_folder(folder: Path) -> Objects:
    objects = open_objects(str(folder), LIMIT)
    folder.rmdir()
    folder.write_text("in the way")
    return objects


async def test_a_storage_that_is_gone_is_unavailable(lost_folder: Objects) -> None:
    with pytest.raises(Unavailable):
        await lost_folder.put(KEY, b"1")


@given(EVIL, EVIL, EVIL)
def test_no_key_leads_out_of_its_folder(tenant: str, owner: str, name: str) -> None:
    ways: list[Callable[[], ObjectKey]] = [
        lambda: object_key(tenant, owner, "originals", name, "image/png"),
        lambda: ObjectKey.parse(f"{tenant}/{owner}/{name}.png"),
        lambda: ObjectKey.parse(name),
    ]
    for make in ways:
        try:
            key = make()
        except InvalidArgument:
            continue
        text = str(key)
        assert os.path.normpath(text) == text == text.lower()
        assert quote(text) == text
        assert not text.startswith((".", "/"))
        assert (key.tenant, key.owner) == tuple(text.split("/")[:2])


REFUSED = (
    "../../../etc/passwd", "default/../other/a.png", "/default/ada/a.png", "default//a.png", "default/ada/.png",
    "default/ada/a.exe", "default/a.png", "a" * 129 + "/b/c.png", "default/ada/a.png/", "default/ada/A.png", "",
    "default/ada/a.png\n",
)  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_keys_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        ObjectKey.parse(text)


async def test_listing_and_erasing_do_not_climb_either(objects: Objects) -> None:
    for tenant, owner in (("..", "ada"), ("default", ".."), ("", ""), ("default/ada", "x")):
        with pytest.raises(InvalidArgument):
            await anext(objects.list(tenant, owner or "x"))
        with pytest.raises(InvalidArgument):
            await objects.delete_all(tenant, owner or "x")
    with pytest.raises(ValueError, match="whose"):
        await objects.delete_all("default", "")


def test_a_new_folder_is_for_its_owner_only(folder: Path) -> None:
    open_objects(f"file://{folder}")
    assert folder.stat().st_mode & 0o777 == 0o700


OTHER_URLS = (
    "ftp://host/a", "file://host/a", "s3://", "s3://bucket?endpoint=http://example.com", "s3://bucket?acl=public", "gs://b",
    "",
)  # fmt: skip


@pytest.mark.parametrize("url", OTHER_URLS)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"S3|object storage"):
        open_objects(url)


async def test_a_part_of_an_object(objects: Objects) -> None:
    content = bytes(range(256)) * 12_000
    await objects.put(KEY, content)
    for start, length in ((0, None), (5, None), (5, 10), (1_000_000, 1_500_000), (len(content) - 1, 100)):
        end = None if length is None else start + length
        assert b"".join([chunk async for chunk in objects.stream(KEY, start, length)]) == content[start:end]
    for start, length in ((-1, None), (0, 0), (0, -1)):
        with pytest.raises(ValueError, match="range"):
            await anext(objects.stream(KEY, start, length))


async def test_a_write_that_returned_is_on_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    await open_objects(str(folder)).put(KEY, b"1")
    assert synced == [str(path) for path in (folder / str(KEY), *(folder / str(KEY)).parents[:4])]


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_what_a_killed_writer_left_goes_with_the_object(folder: Path) -> None:
    objects = open_objects(str(folder))
    path = folder / str(KEY)
    path.parent.mkdir(parents=True)
    for name in ("01h.png#1", "01h.png#2", "01h2.png"):
        (path.parent / name).write_bytes(b"half")
    await objects.delete(KEY)
    assert [one.name for one in path.parent.iterdir()] == ["01h2.png"]
    (path.parent / "01h2.png").rename(path.parent / "01h.png#3")
    await objects.delete(KEY)
    assert left_in(folder) == []


async def test_a_folder_that_is_empty_goes(folder: Path) -> None:
    objects = open_objects(str(folder))
    await objects.put(KEY, b"1")
    await objects.delete(KEY)
    assert left_in(folder) == []
