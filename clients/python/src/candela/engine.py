"""Does the steps of core.py with threads."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from copy import copy
from typing import Any

import grpc

from candela.core import Authorize, Core, Pause, Send, Step, Steps, T, Take, Work
from candela.endpoint import CHANNEL_OPTIONS, Endpoint
from candela.errors import CandelaError, DeadlineExceeded, from_rpc_error
from candela.events import Done, EventStream, Trail
from candela.method import Method, Req, Res
from candela.streams import Stream
from candela.tokens import TokenKeeper


class Engine:
    """Makes calls over one channel; any number of threads may use it at once."""

    def __init__(self, endpoint: Endpoint, core: Core, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.core = core
        self._sleep = sleep
        self._channel = _channel(endpoint)
        self._closed = False
        self._callables: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._flight: Future[str] | None = None

    @property
    def keeper(self) -> TokenKeeper:
        """What the calls authenticate with."""
        return self.core.keeper

    def unary(self, method: Method[Req, Res], request: Req, timeout: float | None = None) -> Res:
        """Makes a call and returns its response; raises CandelaError."""
        response: Res = self.run(self.core.call(method, request, timeout))
        return response

    def stream(self, method: Method[Req, Res], request: Req, timeout: float | None = None) -> Stream[Res]:
        """Makes a call that answers with a stream, and returns once its first message is here; raises CandelaError."""
        stream: Stream[Res] = self.run(self.core.call(method, request, timeout))
        return stream

    def events(
        self,
        method: Method[Req, Res],
        request: Req,
        done: type[Done],
        timeout: float | None = None,
        *,
        resume: Method[Any, Res] | None = None,
    ) -> EventStream[Res, Done]:
        """Makes a call whose answers end with a last event; `resume` is called to go on when they break off."""
        trail = Trail(method, request, done, resume)
        return EventStream(
            self.stream(method, request, timeout), trail, lambda on, again: self.stream(on, again, timeout)
        )

    def duplex(
        self, method: Method[Req, Res], requests: Iterable[Req], done: type[Done], timeout: float | None = None
    ) -> EventStream[Res, Done]:
        """Makes a call that sends requests as they come and is answered meanwhile; requests are taken in a thread."""
        stream: Stream[Res] = self.run(self.core.call(method, requests, timeout))
        return EventStream(stream, Trail(method, None, done, None), None)

    def close(self) -> None:
        """Ends the channel and everything on it."""
        self._closed = True
        self._channel.close()

    def run(self, steps: Steps[T]) -> T:
        """Does the steps of a rule and returns its result."""
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
        finally:
            steps.close()

    def _do(self, step: Step) -> Any:
        match step:
            case Authorize():
                return self._authorize(step)
            case Pause():
                return self._sleep(step.seconds)
            case Send():
                return self._send(step)
            case Take():
                return next(step.stream, None)
            case Work():
                return step.run()

    def _send(self, step: Send[Any, Any]) -> Any:
        metadata = (("authorization", f"Bearer {step.token}"),) if step.token else ()
        try:
            request = iter(step.request) if step.method.client_streams else step.request
            call = self._callable(step.method)(request, timeout=step.timeout, metadata=metadata)
            if step.method.client_streams:
                return Stream(call, call, None, step.method.response, begun=False)
            if not step.method.streams:
                return call
            return Stream(call, call, next(call, None), step.method.response)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def _callable(self, method: Method[Any, Any]) -> Any:
        made = self._callables.get(method.path)
        if made is None:
            made = maker(self._channel, method)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            self._callables[method.path] = made
        return made

    def _authorize(self, step: Authorize) -> str:
        """Returns a token; of all threads that need a new one, the first fetches it and the others wait for it."""
        with self._lock:
            token = self.core.keeper.usable(step.stale)
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
            token = self.run(self.core.refresh(stale))
        except BaseException as error:
            flight.set_exception(error)
            raise
        else:
            flight.set_result(token)
            return token
        finally:
            with self._lock:
                self._flight = None


def maker(channel: Any, method: Method[Any, Any]) -> Callable[..., Any]:
    """Returns what makes callables for methods of this shape, on a channel of either kind."""
    shape = f"{'stream' if method.client_streams else 'unary'}_{'stream' if method.streams else 'unary'}"
    made: Callable[..., Any] = getattr(channel, shape)
    return made


def _channel(endpoint: Endpoint) -> grpc.Channel:
    if endpoint.tls is None:
        return grpc.insecure_channel(endpoint.target, options=CHANNEL_OPTIONS)
    return grpc.secure_channel(endpoint.target, endpoint.tls.credentials(), options=CHANNEL_OPTIONS)
