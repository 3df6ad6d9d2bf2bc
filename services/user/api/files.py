"""candela.user.v1.FileService."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty

from candela.user.v1 import file_pb2, file_service_pb2, file_service_pb2_grpc
from services.kit.call import Call, current_call
from services.kit.idempotency import Replies
from services.kit.paging import Listing, PageTokens
from services.user.api.mapping import id_of, nothing, timestamp
from services.user.domain.files import File, Upload
from services.user.usecases.files import Files
from services.user.usecases.shelf import served_type
from services.user.usecases.uploads import Uploads

# A file is somebody's bytes from our own origin: a browser saves it, guesses nothing and runs nothing of it.
_HARMLESS = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; sandbox"),
    ("cross-origin-resource-policy", "same-site"),
)
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$&+-.^_~()[]{}=@,")


class FileApi(file_service_pb2_grpc.FileServiceServicer):
    """Files and uploads in pieces."""

    def __init__(self, files: Files, uploads: Uploads, page_tokens: PageTokens) -> None:
        self._files = files
        self._uploads = uploads
        self._page_tokens = page_tokens
        self._replies = Replies()

    async def CreateFile(self, request: file_service_pb2.CreateFileRequest, context: Any) -> file_pb2.File:
        filename, content = request.filename, request.content  # each look at `content` makes a copy

        async def work(call: Call) -> File:
            return await self._files.create(call, filename, content)

        return await self._replies.run(current_call(), file_pb2.File, work, file_message)

    async def ListFiles(
        self, request: file_service_pb2.ListFilesRequest, context: Any
    ) -> file_service_pb2.ListFilesResponse:
        call, prefix = current_call(), request.content_type_prefix
        listing = Listing("files", call.caller.tenant, call.caller.user, filter=prefix)
        wanted = self._page_tokens.read(request.page_size, request.page_token, listing)
        page = await self._files.page(call, prefix, wanted)
        return file_service_pb2.ListFilesResponse(
            files=[file_message(file) for file in page.items],
            next_page_token=self._page_tokens.write(page.next, listing),
        )

    async def GetFile(self, request: file_service_pb2.GetFileRequest, context: Any) -> file_pb2.File:
        return file_message(await self._files.get(current_call(), id_of(request.name)))

    async def DownloadFile(
        self, request: file_service_pb2.DownloadFileRequest, context: Any
    ) -> AsyncIterator[HttpBody]:
        wanted = (id_of(request.name), request.offset, request.limit)
        file, chunks = await self._files.download(current_call(), *wanted)
        await context.send_initial_metadata((("content-disposition", disposition(file.filename)), *_HARMLESS))
        content_type = served_type(file.content_type)
        sent = False
        async with aclosing(chunks):
            async for chunk in chunks:
                yield HttpBody(content_type=content_type, data=chunk)
                sent = True
        if not sent:  # no bytes have a type, too
            yield HttpBody(content_type=content_type)

    async def DeleteFile(self, request: file_service_pb2.DeleteFileRequest, context: Any) -> Empty:
        return await self._replies.run(
            current_call(), Empty, lambda call: self._files.delete(call, id_of(request.name)), nothing
        )

    async def CreateUpload(self, request: file_service_pb2.CreateUploadRequest, context: Any) -> file_pb2.Upload:
        return await self._replies.run(
            current_call(),
            file_pb2.Upload,
            lambda call: self._uploads.begin(call, request.filename, request.size_bytes),
            upload_message,
        )

    async def GetUpload(self, request: file_service_pb2.GetUploadRequest, context: Any) -> file_pb2.Upload:
        return upload_message(await self._uploads.get(current_call(), id_of(request.name)))

    async def WriteUpload(self, request: file_service_pb2.WriteUploadRequest, context: Any) -> file_pb2.Upload:
        upload, offset, content = id_of(request.name), request.offset, request.content

        async def work(call: Call) -> Upload:
            return await self._uploads.write(call, upload, offset, content)

        return await self._replies.run(current_call(), file_pb2.Upload, work, upload_message)

    async def CompleteUpload(self, request: file_service_pb2.CompleteUploadRequest, context: Any) -> file_pb2.File:
        return await self._replies.run(
            current_call(),
            file_pb2.File,
            lambda call: self._uploads.complete(call, id_of(request.name), request.sha256),
            file_message,
        )

    async def DeleteUpload(self, request: file_service_pb2.DeleteUploadRequest, context: Any) -> Empty:
        return await self._replies.run(
            current_call(), Empty, lambda call: self._uploads.delete(call, id_of(request.name)), nothing
        )


def disposition(filename: str) -> str:
    """Return the header that has a browser save a file under its name, whatever characters that has (RFC 6266)."""
    plain = "".join(character if character in _PLAIN else "_" for character in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def file_message(file: File) -> file_pb2.File:
    """Return a file as its owner sees it."""
    return file_pb2.File(
        name=f"files/{file.id}",
        filename=file.filename,
        content_type=file.content_type,
        size_bytes=file.size,
        sha256=file.sha256,
        create_time=timestamp(file.create_time),
        expire_time=timestamp(file.expire_time) if file.expire_time else None,
        origin=file.origin,
    )


def upload_message(upload: Upload) -> file_pb2.Upload:
    """Return how far an upload is."""
    return file_pb2.Upload(
        name=f"uploads/{upload.id}",
        filename=upload.filename,
        size_bytes=upload.size,
        received_bytes=upload.received,
        expire_time=timestamp(upload.expire_time),
    )
