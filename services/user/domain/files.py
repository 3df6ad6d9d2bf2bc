"""Files of users and uploads in pieces: what they are, what fits, what a piece may do to an upload."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.kit.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)

MIB = 1024 * 1024
FILE_BYTES = 32 * MIB
"""The largest file that is stored by one call."""

_NAME_CHARACTERS = 255
# Characters that make a name look like another one: they turn the direction of what follows.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class FileRules:
    """What a user may keep. `space` in bytes and `count` bound files and uploads together.

    `retention` is how long a file stays, None for ever; `upload_life` how long an upload waits for its next piece.
    `pieces` bounds the pieces of an upload: each of them is an object in the storage. `downloads` run at one time,
    `downloads_each` of one user.
    """

    space: int = 10 * 1024 * MIB
    count: int = 10_000
    retention: timedelta | None = None
    upload_life: timedelta = timedelta(hours=24)
    pieces: int = 10_000
    downloads: int = 256
    downloads_each: int = 16


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a file is."""

    tenant: str
    user: str


@dataclass(frozen=True, slots=True)
class File:
    """A stored file; `sha256` in lower-case hexadecimal, `expire_time` None when it stays."""

    owner: Owner
    id: str
    filename: str
    content_type: str
    size: int
    sha256: str
    create_time: datetime
    expire_time: datetime | None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that arrives in pieces; `received` bytes are there, in `pieces` pieces."""

    owner: Owner
    id: str
    filename: str
    size: int
    received: int
    pieces: int
    create_time: datetime
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a file or upload: `size` bytes of a stored object from `skip` on are those from `offset` on."""

    number: int
    offset: int
    size: int
    object: str
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Space:
    """What a user's files and uploads take together."""

    used: int = 0
    count: int = 0

    def with_one_more(self, size: int, rules: FileRules) -> "Space":
        """Return the space after `size` more bytes; ResourceExhausted (QUOTA_EXCEEDED) when they do not fit."""
        if self.count >= rules.count:
            metadata = {"limit_files": str(rules.count)}
            message = f"no more than {rules.count} files and uploads are kept; delete some"
            raise ResourceExhausted(message, reason="QUOTA_EXCEEDED", metadata=metadata)
        if self.used + size > rules.space:
            metadata = {"limit_bytes": str(rules.space), "used_bytes": str(self.used), "size_bytes": str(size)}
            message = f"{size} more bytes do not fit: {self.used} of {rules.space} are used"
            raise ResourceExhausted(message, reason="QUOTA_EXCEEDED", metadata=metadata)
        return Space(self.used + size, self.count + 1)


def clean_filename(name: str) -> str:
    """Return a file's name in its composed form (NFC); InvalidArgument for one that would deceive or break things.

    The contract's rule has refused slashes and the ASCII control characters. Further refused are the other control
    characters and line breaks of Unicode, characters that turn the direction of the text, `.` and `..`, names of blanks
    only, and blanks around a name.
    """
    composed = unicodedata.normalize("NFC", name)
    bad = [c for c in composed if c in _TURNING or unicodedata.category(c) in _REFUSED_CATEGORIES]
    if bad:
        raise _bad_name(f"must not contain the character U+{ord(bad[0]):04X}")
    if composed in {"", ".", ".."} or composed != composed.strip():
        raise _bad_name("must be a name, without blanks around it")
    if len(composed) > _NAME_CHARACTERS:
        raise _bad_name(f"must be at most {_NAME_CHARACTERS} characters")
    return composed


def _bad_name(why: str) -> InvalidArgument:
    violation = FieldViolation("filename", why, rule="filename.characters")
    return InvalidArgument(f"filename: {why}", metadata={"field": "filename"}, violations=[violation])


def expire_time(now: datetime, rules: FileRules) -> datetime | None:
    """Return when a file that is stored now is deleted by itself, None when it stays."""
    return None if rules.retention is None else now + rules.retention


def check_piece(upload: Upload, offset: int, size: int, rules: FileRules) -> None:
    """Refuse a piece that the upload cannot take.

    InvalidArgument when it goes beyond the file's end, FailedPrecondition with `received_bytes` when it leaves a gap,
    ResourceExhausted when the upload has too many pieces.
    """
    if offset + size > upload.size:
        text = f"goes beyond the end of the file, which has {upload.size} bytes"
        violation = FieldViolation("content", text, rule="upload.size")
        metadata = {"field": "content", "size_bytes": str(upload.size)}
        raise InvalidArgument(f"content: {text}", metadata=metadata, violations=[violation])
    if offset > upload.received:
        metadata = {"received_bytes": str(upload.received)}
        raise FailedPrecondition(f"the next piece begins at {upload.received}", metadata=metadata)
    if not is_there(upload, offset, size) and upload.pieces >= rules.pieces:
        metadata = {"limit_pieces": str(rules.pieces)}
        message = f"an upload has at most {rules.pieces} pieces; begin again with larger ones"
        raise ResourceExhausted(message, reason="QUOTA_EXCEEDED", metadata=metadata)


def is_there(upload: Upload, offset: int, size: int) -> bool:
    """Say whether all bytes of a piece have arrived before."""
    return offset + size <= upload.received


def with_piece(
    upload: Upload, offset: int, size: int, stored: str, now: datetime, rules: FileRules
) -> tuple[Upload, Piece]:
    """Return the upload after a checked piece that brings something new, and the piece.

    `stored` names the object with the bytes from `offset` on; what of them was there before is skipped.
    """
    skip = upload.received - offset
    piece = Piece(upload.pieces, upload.received, size - skip, stored, skip)
    after = replace(
        upload,
        received=upload.received + piece.size,
        pieces=upload.pieces + 1,
        expire_time=now + rules.upload_life,
    )
    return after, piece


def check_complete(upload: Upload) -> None:
    """Refuse with FailedPrecondition an upload of which bytes are missing."""
    if upload.received < upload.size:
        metadata = {"received_bytes": str(upload.received), "size_bytes": str(upload.size)}
        message = f"{upload.received} of {upload.size} bytes have arrived"
        raise FailedPrecondition(message, metadata=metadata)


def check_sha256(wanted: str, found: str) -> None:
    """Refuse with InvalidArgument bytes whose SHA-256 is not the one that was given (empty: any)."""
    if wanted and wanted != found:
        text = "is not the SHA-256 of the bytes that arrived"
        violation = FieldViolation("sha256", text, rule="upload.sha256")
        metadata = {"field": "sha256", "sha256": found}
        raise InvalidArgument(f"sha256 {text}", metadata=metadata, violations=[violation])


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of one object: `size` of them from `start` on."""

    object: str
    start: int
    size: int


def stretches(pieces: Sequence[Piece], offset: int, size: int) -> list[Stretch]:
    """Return where `size` bytes of a file from `offset` on are; `pieces` are in their order."""
    found = []
    for piece in pieces:
        start, end = max(offset, piece.offset), min(offset + size, piece.offset + piece.size)
        if start < end:
            found.append(Stretch(piece.object, piece.skip + start - piece.offset, end - start))
    return found


def bytes_to_send(file: File, offset: int, limit: int) -> int:
    """Return how many bytes a download gives; InvalidArgument when it begins beyond the file's end."""
    if offset > file.size:
        text = f"is beyond the end of the file, which has {file.size} bytes"
        violation = FieldViolation("offset", text, rule="file.size")
        metadata = {"field": "offset", "size_bytes": str(file.size)}
        raise InvalidArgument(f"offset {text}", metadata=metadata, violations=[violation])
    left = file.size - offset
    return min(left, limit) if limit else left


def no_such_file(file: str) -> NotFound:
    """Return the one answer for a file that is not there and for one that is not the caller's."""
    return NotFound(f"there is no files/{file}", metadata={"name": f"files/{file}"})


def no_such_upload(upload: str) -> NotFound:
    """Return the same for an upload; one that has expired is not there."""
    return NotFound(f"there is no uploads/{upload}", metadata={"name": f"uploads/{upload}"})
