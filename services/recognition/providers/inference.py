"""The OCR calls to the inference server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from candela.inference.v1 import exchange_service_pb2, ocr_service_pb2, ocr_service_pb2_grpc
from services.kit.clock import Clock
from services.kit.errors import Unavailable
from services.kit.exchange.contract import Contract

# A server that answered before and is away for less than this is taken for one that starts again.
_RESTART_SECONDS = 15.0
_PAUSE_SECONDS = 0.2

_EXCHANGE = exchange_service_pb2.DESCRIPTOR.services_by_name["ExchangeService"]
CONTRACT = Contract.of(
    f"/{_EXCHANGE.full_name}/Exchange",
    {
        "detect_text": "/candela.inference.v1.OcrService/DetectText",
        "recognize_text": "/candela.inference.v1.OcrService/RecognizeText",
    },
)
"""The part of the inference server's coalescing stream that recognition uses."""

Q = TypeVar("Q")
R = TypeVar("R")


class InferenceOcr:
    """candela.inference.v1.OcrService; the kit's Exchange and channels turn transport errors into ours.

    Reading a document takes several calls, none of which changes anything: one that was cut short, or came while the
    server restarts, is made again. Once the server is away for longer, calls fail at once, with Unavailable.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        clock: Clock,
        *,
        restart_seconds: float = _RESTART_SECONDS,
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        """Wait out a restart of `restart_seconds`, trying again every `pause_seconds`."""
        self._stub: ocr_service_pb2_grpc.OcrServiceAsyncStub = ocr_service_pb2_grpc.OcrServiceStub(channel)
        self._clock = clock
        self._restart_seconds = restart_seconds
        self._pause_seconds = pause_seconds
        self._has_answered = False
        self._away_since: float | None = None
        self._last_failure = 0.0
        self._given_up = False

    async def detect(self, request: ocr_service_pb2.DetectTextRequest) -> ocr_service_pb2.DetectTextResponse:
        return await self._answer(self._stub.DetectText, request)

    async def recognize(self, request: ocr_service_pb2.RecognizeTextRequest) -> ocr_service_pb2.RecognizeTextResponse:
        return await self._answer(self._stub.RecognizeText, request)

    async def _answer(self, call: Callable[[Q], Awaitable[R]], request: Q) -> R:
        while True:
            try:
                answer = await call(request)
            except Unavailable:
                if not self._may_restart():
                    raise
            else:
                self._has_answered, self._away_since, self._given_up = True, None, False
                return answer
            await asyncio.sleep(self._pause_seconds)

    def _may_restart(self) -> bool:
        """Say whether the server is away for a short time only, as far as one can tell."""
        now = self._clock.monotonic()
        # A failure whose caller left before the next attempt says nothing about a server that is asked much later.
        unheard = not self._given_up and now - self._last_failure >= self._restart_seconds
        if self._away_since is None or unheard:
            self._away_since = now
        self._last_failure = now
        self._given_up = not self._has_answered or now - self._away_since >= self._restart_seconds
        return not self._given_up
