"""`client.files`: the generated methods, and whole transfers."""

from os import PathLike

from candela import transfers
from candela.api import files
from candela.requests import Source
from candela.transfers import PIECE, Watcher
from candela.user.v1 import file_pb2


class Files(files.Files):
    """The caller's files."""

    def upload(
        self,
        source: Source,
        filename: str = "",
        *,
        resume: str = "",
        progress: Watcher | None = None,
        piece: int = PIECE,
    ) -> file_pb2.File:
        """Stores a file of any size up to 2 GiB: a path, or its bytes and a `filename`.

        More than `piece` bytes (4 MiB; up to 8) go piece by piece and on after a break; `progress` is called with how
        far it is. Should this process end before, `resume` with the upload's name, which `progress` was told, goes on.
        Raises OSError when the path cannot be read.
        """
        name = transfers.name_for(source, filename)
        steps = transfers.upload(self._engine.core, source, name, resume, progress, transfers.checked(piece))
        return self._engine.run(steps)

    def download(self, name: str, path: PathLike[str] | str, *, progress: Watcher | None = None) -> file_pb2.File:
        """Fetches the file `files/{file}` to `path` and returns what is known of it.

        Goes on after a break, also where an earlier call was interrupted. `path` appears when everything is there and
        its SHA-256 is right; DataLoss is raised when it is not. Raises OSError when it cannot be written.
        """
        return self._engine.run(transfers.download(self._engine.core, name, path, progress))


class AsyncFiles(files.AsyncFiles):
    """What Files is, for asyncio."""

    async def upload(
        self,
        source: Source,
        filename: str = "",
        *,
        resume: str = "",
        progress: Watcher | None = None,
        piece: int = PIECE,
    ) -> file_pb2.File:
        """Stores a file of any size up to 2 GiB: a path, or its bytes and a `filename`.

        More than `piece` bytes (4 MiB; up to 8) go piece by piece and on after a break; `progress` is called with how
        far it is. Should this process end before, `resume` with the upload's name, which `progress` was told, goes on.
        Raises OSError when the path cannot be read.
        """
        name = transfers.name_for(source, filename)
        steps = transfers.upload(self._engine.core, source, name, resume, progress, transfers.checked(piece))
        return await self._engine.run(steps)

    async def download(self, name: str, path: PathLike[str] | str, *, progress: Watcher | None = None) -> file_pb2.File:
        """Fetches the file `files/{file}` to `path` and returns what is known of it.

        Goes on after a break, also where an earlier call was interrupted. `path` appears when everything is there and
        its SHA-256 is right; DataLoss is raised when it is not. Raises OSError when it cannot be written.
        """
        return await self._engine.run(transfers.download(self._engine.core, name, path, progress))
