"""Archives that somebody tampered with, or that were cut, are refused, and nothing is touched."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from supervisor.backup.archive import ArchiveWriter, check, extract
from supervisor.backup.manifest import ArchiveError, Manifest

CONTENT = b"a database" * 100
NAMES = ("db/user.sqlite3", "keys/mesh.pem", "objects/default/01h/files/a.png")
_AT = datetime(2026, 3, 14, tzinfo=UTC)


def manifest_of(writer: ArchiveWriter) -> Manifest:
    return Manifest(_AT, "0.1", {"user": "0001"}, {}, (), tuple(writer.members))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A good archive of three files."""
    path = tmp_path / "good.tar"
    with path.open("wb") as out:
        writer = ArchiveWriter(out)
        for name in NAMES:
            writer.add(name, io.BytesIO(CONTENT), len(CONTENT))
        writer.close(manifest_of(writer))
    return path


def entry(name: str, content: bytes = b"x", **changes: Any) -> bytes:
    """Return a member as tarfile writes it; `changes` are to its header."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in changes.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def forged(tmp_path: Path, *entries: bytes, names: tuple[str, ...] = (), **changes: Any) -> Path:
    """Write an archive of these entries with a manifest that lists `names` as files of one byte."""
    digest = hashlib.sha256(b"x").hexdigest()
    listed = [{"name": name, "size": 1, "sha256": digest} for name in names]
    raw = {"format": 1, "taken_at": _AT.isoformat(), "version": "0.1", "schemas": {}, "settings": {}}
    manifest = json.dumps(raw | {"not_covered": [], "members": listed} | changes).encode()
    path = tmp_path / "forged.tar"
    path.write_bytes(b"".join(entries) + entry("manifest.json", manifest) + bytes(1024))
    return path


def test_a_good_archive_is_read_back(archive: Path, tmp_path: Path) -> None:
    manifest = check(archive)
    assert [member.name for member in manifest.members] == list(NAMES)
    extract(archive, manifest, lambda name: tmp_path / "out" / name)
    for name in NAMES:
        assert (tmp_path / "out" / name).read_bytes() == CONTENT
        assert (tmp_path / "out" / name).stat().st_mode & 0o777 == 0o600


def test_other_tools_read_it(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        assert tar.getnames() == [*NAMES, "manifest.json"]


@pytest.mark.parametrize("name", ["a" * 60 + "/" + "b" * 60, "a" * 128 + "/" + "b" * 90])
def test_long_names_are_kept(tmp_path: Path, name: str) -> None:
    path = tmp_path / "long.tar"
    with path.open("wb") as out:
        writer = ArchiveWriter(out)
        writer.add(f"objects/{name}", io.BytesIO(b"x"), 1)
        writer.close(manifest_of(writer))
    assert check(path).members[0].name == f"objects/{name}"


def test_a_forged_archive_without_a_fault_is_taken(tmp_path: Path) -> None:
    """The others in this file fail for the reason they name, not because forging is wrong."""
    assert check(forged(tmp_path, entry("keys/a"), names=("keys/a",))).members[0].name == "keys/a"


@pytest.mark.parametrize(
    "name",
    [
        "../evil", "/etc/passwd", "keys/../../evil", "keys/..", "keys/.hidden", "db/user.sqlite3/../x",
        "run/status.json", "logs/a", "evil", "keys/a/b", "db/User.sqlite3", "objects", "objects//a",
        "keys/a\nb", "keys/a\\b", "",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError):
        check(forged(tmp_path, entry(name), names=(name,)))


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE,
        tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.CONTTYPE,
    ],
)  # fmt: skip
def test_everything_but_plain_files_is_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(ArchiveError, match="no plain file"):
        check(forged(tmp_path, entry("keys/a", type=kind, linkname="/etc/passwd"), names=("keys/a",)))


def test_compressed_archives_are_refused_unread(archive: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(ArchiveError, match="no backup of Candela"):
        check(bomb)
    archive.write_bytes(gzip.compress(archive.read_bytes()))
    with pytest.raises(ArchiveError):
        check(archive)


def test_a_size_that_the_file_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cut short in keys/a"):
        check(forged(tmp_path, entry("keys/a", size=2**60), names=("keys/a",)))


def test_every_cut_is_noticed(archive: Path) -> None:
    whole = archive.read_bytes()
    without_end = len(whole) - 1024  # two empty blocks, without which the manifest is still whole
    for length in range(0, without_end - 512, 512):
        archive.write_bytes(whole[:length])
        with pytest.raises(ArchiveError):
            check(archive)


def test_every_changed_byte_of_a_file_is_noticed(archive: Path) -> None:
    whole = bytearray(archive.read_bytes())
    for position in (512, 512 + len(CONTENT) - 1, 0, 100, 124, 156):
        changed = bytearray(whole)
        changed[position] ^= 1
        archive.write_bytes(changed)
        with pytest.raises(ArchiveError):
            check(archive)


def test_what_is_missing_added_or_doubled_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="keys/b is missing"):
        check(forged(tmp_path, entry("keys/a"), names=("keys/a", "keys/b")))
    with pytest.raises(ArchiveError, match="keys/b is in the archive and not in its manifest"):
        check(forged(tmp_path, entry("keys/a"), entry("keys/b"), names=("keys/a",)))
    with pytest.raises(ArchiveError, match="twice"):
        check(forged(tmp_path, entry("keys/a"), entry("keys/a"), names=("keys/a",)))
    with pytest.raises(ArchiveError, match="listed twice"):
        check(forged(tmp_path, entry("keys/a"), names=("keys/a", "keys/a")))
    path = forged(tmp_path, entry("keys/a"), names=("keys/a",))
    path.write_bytes(path.read_bytes()[:-1024] + entry("keys/b") + bytes(1024))
    with pytest.raises(ArchiveError, match="goes on after its manifest"):
        check(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2}, {"taken_at": "yesterday"}, {"taken_at": "2026-03-14T00:00:00"}, {"members": None},
        {"members": [1]}, {"schemas": {"user": "../1"}}, {"schemas": []},
        {"members": [{"name": "keys/a", "size": -1, "sha256": "0" * 64}]},
        {"members": [{"name": "keys/a", "size": True, "sha256": "0" * 64}]}, {"settings": None},
    ],
)  # fmt: skip
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ArchiveError):
        check(forged(tmp_path, entry("keys/a"), names=("keys/a",), **changes))


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(entry("manifest.json", raw) + bytes(1024))
    with pytest.raises(ArchiveError, match="damaged"):
        check(path)


def test_an_archive_that_changes_between_check_and_use_is_noticed(archive: Path, tmp_path: Path) -> None:
    manifest = check(archive)
    changed = bytearray(archive.read_bytes())
    changed[512] ^= 1
    archive.write_bytes(changed)
    with pytest.raises(ArchiveError, match="changed while"):
        extract(archive, manifest, lambda name: tmp_path / "out" / name)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as out, pytest.raises(OSError, match="missing"):
        ArchiveWriter(out).add("keys/a", io.BytesIO(b"x"), 2)


@pytest.fixture
def random_bytes() -> Callable[[int], bytes]:
    return lambda seed: hashlib.sha512(str(seed).encode()).digest() * 40


def test_noise_is_refused(tmp_path: Path, random_bytes: Callable[[int], bytes]) -> None:
    for seed in range(20):
        (tmp_path / "noise").write_bytes(random_bytes(seed))
        with pytest.raises(ArchiveError):
            check(tmp_path / "noise")
