"""The OCR calls over a channel to the inference server."""

import grpc

from candela.inference.v1 import ocr_service_pb2, ocr_service_pb2_grpc


class InferenceOcr:
    """candela.inference.v1.OcrService; the kit's channel turns transport errors into ours."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: ocr_service_pb2_grpc.OcrServiceAsyncStub = ocr_service_pb2_grpc.OcrServiceStub(channel)

    async def detect(self, request: ocr_service_pb2.DetectTextRequest) -> ocr_service_pb2.DetectTextResponse:
        return await self._stub.DetectText(request)

    async def recognize(self, request: ocr_service_pb2.RecognizeTextRequest) -> ocr_service_pb2.RecognizeTextResponse:
        return await self._stub.RecognizeText(request)
