"""Documents that the caller has uploaded before, over a channel to the user service.

The channel passes on the caller's own token, remaining time and trace: what the caller may not see looks like what is
not there, and a caller who goes away ends the fetching.
"""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import grpc

from candela.user.v1 import file_pb2, file_service_pb2, file_service_pb2_grpc
from services.kit.errors import Unavailable


class UserServiceFiles:
    """candela.user.v1.FileService; the kit's channel turns transport errors into ours."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        stub: file_service_pb2_grpc.FileServiceAsyncStub = file_service_pb2_grpc.FileServiceStub(channel)
        self._get = stub.GetFile
        self._download: Callable[..., Any] = stub.DownloadFile  # the kit's channel gives `Replies`

    async def size(self, file: str) -> int:
        found: file_pb2.File = await self._get(file_service_pb2.GetFileRequest(name=file))
        return found.size_bytes

    async def content(self, file: str, size: int) -> bytes:
        content = bytearray()
        request = file_service_pb2.DownloadFileRequest(name=file, limit=size)
        async with aclosing(self._download(request)) as parts:
            async for part in parts:
                content += part.data
                if len(content) > size:
                    break
        if len(content) != size:
            raise Unavailable("the file did not arrive whole; try again", metadata={"name": file})
        return bytes(content)
