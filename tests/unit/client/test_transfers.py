"""Files in pieces: up and down, on after breaks, checked at the end."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import candela
from tests.unit.client.fake_candela import World, unavailable
from tests.unit.client.fake_work import PIECE, Work

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "scan.pdf"
    made.write_bytes(CONTENT)
    return made


def test_a_small_file_goes_in_one_call(client: Any, world: World, work: Work, path: Path) -> None:
    told: list[tuple[int, int]] = []
    file = client.files.upload(path, progress=lambda at: told.append((at.done, at.total)))
    assert work.files[file.name] == CONTENT
    assert world.calls("CreateFile")[0].request.filename == "scan.pdf"
    assert told == [(len(CONTENT), len(CONTENT))]


def test_a_large_file_goes_in_pieces(client: Any, world: World, work: Work, path: Path) -> None:
    told: list[int] = []
    file = client.files.upload(path, "other.pdf", piece=300, progress=lambda at: told.append(at.done))
    assert work.files[file.name] == CONTENT
    assert (file.filename, file.sha256) == ("other.pdf", hashlib.sha256(CONTENT).hexdigest())
    assert [call.request.offset for call in world.calls("WriteUpload")] == [0, 300, 600, 900]
    assert told == [0, 300, 600, 900, 1024]


def test_bytes_need_a_name(client: Any, work: Work) -> None:
    with pytest.raises(TypeError, match="filename"):
        client.files.upload(b"bytes")
    assert work.files[client.files.upload(b"bytes", "b.txt").name] == b"bytes"


def test_an_upload_goes_on_after_a_break(client: Any, world: World, work: Work, path: Path) -> None:
    away = [unavailable] * 5  # all attempts of one call
    world.after["WriteUpload"] = [lambda _: None, *away]
    file = client.files.upload(path, piece=300)
    assert work.files[file.name] == CONTENT
    assert world.count("GetUpload") == 1


def test_an_upload_gives_up_on_what_stays_away(client: Any, world: World, path: Path) -> None:
    world.before["WriteUpload"] = [unavailable] * 100
    with pytest.raises(candela.Unavailable):
        client.files.upload(path, piece=300)
    assert world.count("GetUpload") == 5


def test_an_upload_is_taken_up_by_another_process(client: Any, world: World, work: Work, path: Path) -> None:
    names: list[str] = []
    world.before["WriteUpload"] = [lambda _: None, *([unavailable] * 100)]
    with pytest.raises(candela.Unavailable):
        client.files.upload(path, piece=300, progress=lambda at: names.append(at.name))
    world.before["WriteUpload"] = []
    file = client.files.upload(path, piece=300, resume=names[0])
    assert work.files[file.name] == CONTENT
    assert world.count("CreateUpload") == 1


def test_only_the_same_file_can_go_on(client: Any, path: Path) -> None:
    upload = client.uploads.create("scan.pdf", 7)
    with pytest.raises(ValueError, match="has 1024"):
        client.files.upload(path, resume=upload.name)


@pytest.mark.parametrize("piece", [0, 9 * 1024 * 1024])
def test_a_piece_has_bounds(client: Any, path: Path, piece: int) -> None:
    with pytest.raises(ValueError, match="8 MiB"):
        client.files.upload(path, piece=piece)


def test_a_file_that_cannot_be_read_is_no_call(client: Any, world: World, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.files.upload(tmp_path / "nothing.pdf")
    assert not world.count("CreateFile")


def test_a_download_is_what_was_stored(client: Any, work: Work, tmp_path: Path) -> None:
    work.files["files/7"] = CONTENT
    told: list[int] = []
    target = tmp_path / "copy.bin"
    assert client.files.download("files/7", target, progress=lambda at: told.append(at.done)).size_bytes == 1024
    assert target.read_bytes() == CONTENT
    assert told[0] == PIECE
    assert told[-1] == len(CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["copy.bin"]


def test_an_empty_file_is_downloaded(client: Any, work: Work, tmp_path: Path) -> None:
    work.files["files/7"] = b""
    client.files.download("files/7", str(tmp_path / "empty"))
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_download_goes_on_where_it_broke(client: Any, world: World, work: Work, tmp_path: Path) -> None:
    work.files["files/7"] = CONTENT
    work.breaks = [3, 4]
    client.files.download("files/7", tmp_path / "copy.bin")
    assert (tmp_path / "copy.bin").read_bytes() == CONTENT
    assert [call.request.offset for call in world.calls("DownloadFile")] == [0, 3 * PIECE, 7 * PIECE]


def test_a_download_goes_on_in_another_process(
    client: Any, connect: Callable[..., Any], world: World, work: Work, tmp_path: Path
) -> None:
    work.files["files/7"] = CONTENT
    target = tmp_path / "copy.bin"
    work.breaks = [3]
    world.before["DownloadFile"] = [lambda _: None, *([unavailable] * 100)]
    with pytest.raises(candela.Unavailable):
        client.files.download("files/7", target)
    assert not target.exists()
    world.before["DownloadFile"] = []
    connect(api_key="ck_good").files.download("files/7", target)
    assert target.read_bytes() == CONTENT
    assert world.calls("DownloadFile")[-1].request.offset == 3 * PIECE


def test_a_download_that_is_not_the_file_is_refused(client: Any, work: Work, tmp_path: Path) -> None:
    work.files["files/7"] = CONTENT
    work.broken_hashes = True
    with pytest.raises(candela.DataLoss):
        client.files.download("files/7", tmp_path / "copy.bin")
    assert not list(tmp_path.iterdir())
