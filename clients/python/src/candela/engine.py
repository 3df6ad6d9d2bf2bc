"""Does the steps of core.py with threads."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from copy import copy
from typing import Any

import grpc

from candela.core import Authorize, Core, Pause, Send, Step, Steps, T
from candela.endpoint import CHANNEL_OPTIONS, Endpoint
from candela.errors import CandelaError, DeadlineExceeded, from_rpc_error
from candela.method import Method, Req, Res
from candela.streams import Stream


class Engine:
    """Makes calls over one channel; any number of threads may use it at once."""

    def __init__(self, endpoint: Endpoint, core: Core, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._core = core
        self._sleep = sleep
        self._channel = _channel(endpoint)
        self._closed = False
        self._callables: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._flight: Future[str] | None = None

    def unary(self, method: Method[Req, Res], request: Req, timeout: float | None = None) -> Res:
        """Makes a call and returns its response; raises CandelaError."""
        response: Res = self._run(self._core.call(method, request, timeout))
        return response

    def stream(self, method: Method[Req, Res], request: Req, timeout: float | None = None) -> Stream[Res]:
        """Makes a call that answers with a stream, and returns once its first message is here; raises CandelaError."""
        stream: Stream[Res] = self._run(self._core.call(method, request, timeout))
        return stream

    def close(self) -> None:
        """Ends the channel and everything on it."""
        self._closed = True
        self._channel.close()

    def _run(self, steps: Steps[T]) -> T:
        if self._closed:
            raise RuntimeError("the client is closed")
        try:
            step = next(steps)
            while True:
                try:
                    outcome = self._do(step)
                except CandelaError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as done:
            result: T = done.value
            return result

    def _do(self, step: Step) -> Any:
        match step:
            case Authorize():
                return self._authorize(step)
            case Pause():
                return self._sleep(step.seconds)
            case Send():
                return self._send(step)

    def _send(self, step: Send[Any, Any]) -> Any:
        metadata = (("authorization", f"Bearer {step.token}"),) if step.token else ()
        try:
            call = self._callable(step.method)(step.request, timeout=step.timeout, metadata=metadata)
            if not step.method.streams:
                return call
            return Stream(call, call, next(call, None), step.method.response)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def _callable(self, method: Method[Any, Any]) -> Any:
        made = self._callables.get(method.path)
        if made is None:
            make = self._channel.unary_stream if method.streams else self._channel.unary_unary
            made = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            self._callables[method.path] = made
        return made

    def _authorize(self, step: Authorize) -> str:
        """Returns a token; of all threads that need a new one, the first fetches it and the others wait for it."""
        with self._lock:
            token = self._core.keeper.usable(step.stale)
            if token is not None:
                return token
            flight = self._flight
            mine = flight is None
            self._flight = flight = flight or Future()
        if mine:
            return self._refresh(flight, step.stale)
        try:
            return flight.result(step.remaining)
        except TimeoutError as error:
            raise DeadlineExceeded("the call took longer than its timeout") from error
        except CandelaError as error:
            raise copy(error) from error  # each caller gets one of its own, to which its request_id is added

    def _refresh(self, flight: "Future[str]", stale: str) -> str:
        try:
            token = self._run(self._core.refresh(stale))
        except BaseException as error:
            flight.set_exception(error)
            raise
        else:
            flight.set_result(token)
            return token
        finally:
            with self._lock:
                self._flight = None


def _channel(endpoint: Endpoint) -> grpc.Channel:
    if endpoint.tls is None:
        return grpc.insecure_channel(endpoint.target, options=CHANNEL_OPTIONS)
    return grpc.secure_channel(endpoint.target, endpoint.tls.credentials(), options=CHANNEL_OPTIONS)
