"""Large files in pieces, up and down: begun once, gone on with after any break, checked at the end.

The rules are steps as in core.py, so both clients keep the same ones.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Final

from candela.api import files, uploads
from candela.core import Core, Pause, Steps, Take, Work
from candela.errors import CandelaError, DataLoss, FailedPrecondition, Unavailable
from candela.requests import Source
from candela.user.v1 import file_pb2, file_service_pb2

_MIB: Final = 1024 * 1024
PIECE: Final = 4 * _MIB
# How often a transfer goes on although not one more byte got through since the last break.
_BREAKS: Final = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is, in bytes. `name` is the upload (`uploads/…`), to go on with it, or the file."""

    name: str
    done: int
    total: int


Watcher = Callable[[Progress], object]


@dataclass(slots=True)
class Patience:
    """Counts breaks in a row, and how long to wait after each."""

    core: Core
    breaks: int = 0

    def after(self, error: CandelaError) -> float:
        """Returns the seconds to wait; raises the error when there were too many, or when it is no break."""
        if not isinstance(error, Unavailable) or self.breaks >= _BREAKS:
            raise error
        self.breaks += 1
        bound: float = min(self.core.policy.longest_pause, self.core.policy.first_pause * 2**self.breaks)
        return bound


def upload(
    core: Core, source: Source, filename: str, resume: str, progress: Watcher | None, piece: int
) -> Steps[file_pb2.File]:
    """Yields the steps of an upload and returns the file.

    A small file goes in one call; a larger one in pieces of `piece` bytes. `resume` is the name of an upload of the
    same file that was not finished.
    """
    with _opened(source) as content:
        size: int = yield Work(lambda: content.seek(0, io.SEEK_END))
        if size <= piece and not resume:
            whole = yield Work(lambda: _part(content, 0, size))
            request = file_service_pb2.CreateFileRequest(filename=filename, content=whole)
            made: file_pb2.File = yield from core.call(files.CREATE_FILE, request)
        else:
            made = yield from _in_pieces(core, content, size, filename, resume, progress, piece)
    if progress is not None:
        progress(Progress(made.name, size, size))
    return made


def _in_pieces(
    core: Core, content: BinaryIO, size: int, filename: str, resume: str, progress: Watcher | None, piece: int
) -> Steps[file_pb2.File]:
    if resume:
        state = yield from core.call(uploads.GET_UPLOAD, file_service_pb2.GetUploadRequest(name=resume))
        if state.size_bytes != size:
            raise ValueError(f"{resume} is an upload of {state.size_bytes} bytes, and this file has {size}")
    else:
        request = file_service_pb2.CreateUploadRequest(filename=filename, size_bytes=size)
        state = yield from core.call(uploads.CREATE_UPLOAD, request)
    patience = Patience(core)
    while state.received_bytes < size:
        offset = state.received_bytes
        if progress is not None:
            progress(Progress(state.name, offset, size))
        try:
            state = yield from _write(core, content, state.name, offset, piece)
            patience.breaks = 0
        except CandelaError as error:
            yield Pause(patience.after(error))
            state = yield from core.call(uploads.GET_UPLOAD, file_service_pb2.GetUploadRequest(name=state.name))
    digest: str = yield Work(lambda: _digest(content))
    done = file_service_pb2.CompleteUploadRequest(name=state.name, sha256=digest)
    file: file_pb2.File = yield from core.call(uploads.COMPLETE_UPLOAD, done)
    return file


def _write(core: Core, content: BinaryIO, name: str, offset: int, piece: int) -> Steps[file_pb2.Upload]:
    data = yield Work(lambda: _part(content, offset, piece))
    request = file_service_pb2.WriteUploadRequest(name=name, offset=offset, content=data)
    try:
        state: file_pb2.Upload = yield from core.call(uploads.WRITE_UPLOAD, request)
    except FailedPrecondition as error:
        known = error.metadata.get("received_bytes", "")
        if not known.isdigit() or int(known) == offset:
            raise
        state = file_pb2.Upload(name=name, received_bytes=int(known))  # some other piece is the next one
    return state


def download(core: Core, name: str, path: PathLike[str] | str, progress: Watcher | None) -> Steps[file_pb2.File]:
    """Yields the steps of a download and returns the file that was fetched.

    What has arrived is kept beside `path` until all of it is there and its SHA-256 is right; then it becomes `path` in
    one step. A download of the same content goes on where an earlier one stopped.
    """
    file: file_pb2.File = yield from core.call(files.GET_FILE, file_service_pb2.GetFileRequest(name=name))
    target = Path(path)
    part = target.with_name(f".{target.name}.{file.sha256[:16]}.part")
    patience = Patience(core)
    while True:
        before = have = yield Work(lambda: _length(part))
        if have >= file.size_bytes:
            break
        try:
            yield from _fetch(core, file, part, have, progress)
        except CandelaError as error:
            have = yield Work(lambda: _length(part))
            patience.breaks = 0 if have > before else patience.breaks
            yield Pause(patience.after(error))
    yield Work(lambda: _finish(part, target, file))
    if progress is not None:
        progress(Progress(name, file.size_bytes, file.size_bytes))
    return file


def _fetch(core: Core, file: file_pb2.File, part: Path, offset: int, progress: Watcher | None) -> Steps[None]:
    request = file_service_pb2.DownloadFileRequest(name=file.name, offset=offset)
    stream = yield from core.call(files.DOWNLOAD_FILE, request)
    try:
        with part.open("ab") as out:
            while (body := (yield Take(stream))) is not None:
                yield Work(partial(out.write, body.data))
                offset += len(body.data)
                if progress is not None:
                    progress(Progress(file.name, offset, file.size_bytes))
    finally:
        stream.close()
    if offset < file.size_bytes:
        raise Unavailable("the download broke off before its end")


def _finish(part: Path, target: Path, file: file_pb2.File) -> None:
    if not file.size_bytes:
        part.touch()
    with part.open("rb") as content:
        if _digest(content) != file.sha256:
            content.close()
            part.unlink()
            raise DataLoss(f"{file.name} did not arrive as it was stored", reason="CHECKSUM_MISMATCH")
    part.replace(target)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _part(content: BinaryIO, offset: int, length: int) -> bytes:
    content.seek(offset)
    return content.read(length)


def _digest(content: BinaryIO) -> str:
    content.seek(0)
    digest = hashlib.sha256()
    while data := content.read(_MIB):
        digest.update(data)
    return digest.hexdigest()


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as content:
        yield content


def name_for(source: Source, filename: str) -> str:
    """Returns what to call an uploaded file; raises TypeError when nobody says."""
    if filename:
        return filename
    if isinstance(source, bytes):
        raise TypeError("bytes have no name: give filename=")
    return Path(source).name


def checked(piece: int) -> int:
    """Returns the size of a piece; raises ValueError for one that the contract does not take."""
    if not 1 <= piece <= 8 * _MIB:
        raise ValueError("a piece has 1 byte to 8 MiB")
    return piece
