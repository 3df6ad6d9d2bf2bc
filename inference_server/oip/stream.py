"""ModelStreamInfer: many requests at a time on one stream, answered in their order, each failing alone."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import Any, Final

from inference_server.engine import Engine, Submission, Work
from inference_server.host import ModelHost
from inference_server.oip.infer import INFER
from inference_server.oip.parameters import FINAL, hurried
from kserve import grpc_service_pb2
from services.kit.errors import CandelaError
from services.kit.pipeline.failures import as_error

_METHOD: Final = "inference.GRPCInferenceService/ModelStreamInfer"
_Response = grpc_service_pb2.ModelStreamInferResponse

# Requests of one stream that may be open: beyond it nothing is read, and gRPC holds the caller back.
MOST_OPEN: Final = 1024


class _Open:
    """A request that was begun: its response or error once there is one, its submission while there is not."""

    __slots__ = ("error", "request", "response", "submission")

    def __init__(self, request: grpc_service_pb2.ModelInferRequest) -> None:
        self.request = request
        self.response: grpc_service_pb2.ModelStreamInferResponse | None = None
        self.error: CandelaError | None = None
        self.submission: Submission[Any] | None = None

    def fail(self, error: CandelaError) -> None:
        """Answer with an error as Triton does: its text beside an empty response that says whose it is."""
        self.error = error
        response = grpc_service_pb2.ModelInferResponse(id=self.request.id)
        self.response = _Response(error_message=error.message, infer_response=response)


class InferStream:
    """One stream of inferences. Every model here answers a request once, so every response is the final one.

    `work` makes the work of a request before its own parameters count. With `strict` the first error ends the stream
    with its status (Triton's header `triton_grpc_error`). Once `draining` is set, no more requests are read.
    """

    def __init__(
        self, host: ModelHost, work: Callable[[], Work], draining: asyncio.Event, *, strict: bool = False
    ) -> None:
        self._host = host
        self._work = work
        self._draining = draining
        self._strict = strict
        self._open: deque[_Open] = deque()
        self._room = asyncio.Semaphore(MOST_OPEN)
        self._changed = asyncio.Event()

    async def answers(
        self, requests: AsyncIterator[grpc_service_pb2.ModelInferRequest]
    ) -> AsyncGenerator[grpc_service_pb2.ModelStreamInferResponse, None]:
        """Yield the responses; when the caller goes away, everything that waits is taken out of the queues."""
        reading = asyncio.ensure_future(self._read(requests))
        draining = asyncio.ensure_future(self._draining.wait())
        for task in (reading, draining):
            task.add_done_callback(lambda _: self._changed.set())
        try:
            while True:
                while self._open and (response := self._open[0].response) is not None:
                    self._check(self._open.popleft())
                    self._room.release()
                    yield response
                if not self._open and (reading.done() or draining.done()):
                    break
                self._changed.clear()
                await self._changed.wait()
            if reading.done():
                reading.result()  # what was wrong with the stream itself
        finally:
            for one in self._open:
                if one.submission is not None:
                    one.submission.cancel()
            for task in (reading, draining):
                task.cancel()
            await asyncio.gather(reading, draining, return_exceptions=True)

    def _check(self, one: _Open) -> None:
        if self._strict and one.error is not None:
            raise one.error

    async def _read(self, requests: AsyncIterator[grpc_service_pb2.ModelInferRequest]) -> None:
        async for request in requests:
            if self._draining.is_set():
                return
            await self._room.acquire()
            self._begin(request)

    def _begin(self, request: grpc_service_pb2.ModelInferRequest) -> None:
        one = _Open(request)
        self._open.append(one)
        try:
            engine = INFER.engine(self._host, request)
            items = INFER.items(engine, request)
            work = hurried(request, self._work())
            one.submission = engine.submit(items, work, partial(self._done, one, engine))
        except Exception as error:  # noqa: BLE001 - the boundary of one request: the others go on
            self._fail(one, error)

    def _done(self, one: _Open, engine: Engine[Any, Any], results: list[Any]) -> None:
        one.submission = None
        try:
            response = INFER.response(engine.card, one.request, results)
        except Exception as error:  # noqa: BLE001 - as in _begin
            self._fail(one, error)
        else:
            response.parameters[FINAL].bool_param = True
            one.response = _Response(infer_response=response)
            self._changed.set()

    def _fail(self, one: _Open, error: Exception) -> None:
        one.fail(as_error(error, _METHOD))
        self._changed.set()
