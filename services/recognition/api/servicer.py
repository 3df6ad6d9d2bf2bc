"""Serves candela.recognition.v1.RecognitionService."""

from typing import Any

from google.protobuf import empty_pb2

from candela.recognition.v1 import recognition_pb2, recognition_service_pb2, recognition_service_pb2_grpc
from services.kit.call import Call, current_call
from services.kit.idempotency import Replies
from services.kit.paging import Listing, PageTokens
from services.recognition.api.mapping import COLLECTION, recognition_to_proto
from services.recognition.usecases.recognitions import DocumentRequest, Recognitions

Context = Any  # grpc.aio's context: the pipeline reads it, handlers do not


class RecognitionServicer(recognition_service_pb2_grpc.RecognitionServiceServicer):
    """Messages in, messages out; the pipeline has authenticated and validated what arrives here."""

    def __init__(self, recognitions: Recognitions, replies: Replies, tokens: PageTokens) -> None:
        self._recognitions = recognitions
        self._replies = replies
        self._tokens = tokens

    async def RecognizeDocument(
        self, request: recognition_service_pb2.RecognizeDocumentRequest, context: Context
    ) -> recognition_pb2.Recognition:
        wanted = DocumentRequest(request.content, tuple(request.pages), request.include_characters, request.file)
        return await self._replies.run(
            current_call(),
            recognition_pb2.Recognition,
            lambda call: self._recognitions.recognize_document(call, wanted),
            recognition_to_proto,
        )

    async def ListRecognitions(
        self, request: recognition_service_pb2.ListRecognitionsRequest, context: Context
    ) -> recognition_service_pb2.ListRecognitionsResponse:
        call = current_call()
        listing = Listing(COLLECTION, call.caller.tenant, call.caller.user)
        wanted = self._tokens.read(request.page_size, request.page_token, listing)
        page = await self._recognitions.list_recognitions(call, wanted)
        return recognition_service_pb2.ListRecognitionsResponse(
            recognitions=[recognition_to_proto(recognition) for recognition in page.items],
            next_page_token=self._tokens.write(page.next, listing),
        )

    async def GetRecognition(
        self, request: recognition_service_pb2.GetRecognitionRequest, context: Context
    ) -> recognition_pb2.Recognition:
        full = request.view != recognition_pb2.RECOGNITION_VIEW_BASIC
        return recognition_to_proto(
            await self._recognitions.get_recognition(current_call(), _id(request.name), full=full)
        )

    async def DeleteRecognition(
        self, request: recognition_service_pb2.DeleteRecognitionRequest, context: Context
    ) -> empty_pb2.Empty:
        async def work(call: Call) -> None:
            await self._recognitions.delete_recognition(call, _id(request.name))

        return await self._replies.run(current_call(), empty_pb2.Empty, work, lambda _: empty_pb2.Empty())


def _id(name: str) -> str:
    return name.removeprefix(f"{COLLECTION}/")
