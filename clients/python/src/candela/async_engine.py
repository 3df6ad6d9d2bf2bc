"""Does the steps of core.py with asyncio."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from copy import copy
from typing import Any

import grpc
import grpc.aio

from candela.core import Authorize, Core, Pause, Send, Step, Steps, T, Take, Work
from candela.endpoint import CHANNEL_OPTIONS, Endpoint
from candela.engine import maker
from candela.errors import CandelaError, DeadlineExceeded, from_rpc_error
from candela.events import AsyncEventStream, Done, Trail
from candela.method import Method, Req, Res
from candela.streams import AsyncStream, read
from candela.tokens import TokenKeeper


class AsyncEngine:
    """Makes calls over one channel; any number of tasks of one event loop may use it at once."""

    def __init__(
        self, endpoint: Endpoint, core: Core, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.core = core
        self._sleep = sleep
        self._endpoint = endpoint
        self._channel: grpc.aio.Channel | None = None  # a channel belongs to the loop in which it is made
        self._closed = False
        self._callables: dict[str, Any] = {}
        self._flight: asyncio.Task[str] | None = None

    @property
    def keeper(self) -> TokenKeeper:
        """What the calls authenticate with."""
        return self.core.keeper

    async def unary(self, method: Method[Req, Res], request: Req, timeout: float | None = None) -> Res:
        """Makes a call and returns its response; raises CandelaError."""
        response: Res = await self.run(self.core.call(method, request, timeout))
        return response

    async def stream(self, method: Method[Req, Res], request: Req, timeout: float | None = None) -> AsyncStream[Res]:
        """Makes a call that answers with a stream, and returns once its first message is here; raises CandelaError."""
        stream: AsyncStream[Res] = await self.run(self.core.call(method, request, timeout))
        return stream

    async def events(
        self,
        method: Method[Req, Res],
        request: Req,
        done: type[Done],
        timeout: float | None = None,
        *,
        resume: Method[Any, Res] | None = None,
    ) -> AsyncEventStream[Res, Done]:
        """Makes a call whose answers end with a last event; `resume` is called to go on when they break off."""
        trail = Trail(method, request, done, resume)
        stream = await self.stream(method, request, timeout)
        return AsyncEventStream(stream, trail, lambda on, again: self.stream(on, again, timeout))

    async def duplex(
        self,
        method: Method[Req, Res],
        requests: AsyncIterable[Req] | Iterable[Req],
        done: type[Done],
        timeout: float | None = None,
    ) -> AsyncEventStream[Res, Done]:
        """Makes a call that sends requests as they come and is answered meanwhile."""
        stream: AsyncStream[Res] = await self.run(self.core.call(method, requests, timeout))
        return AsyncEventStream(stream, Trail(method, None, done, None), None)

    async def close(self) -> None:
        """Ends the channel and everything on it."""
        self._closed = True
        if self._flight is not None:
            await asyncio.wait({self._flight})  # an answer that is lost would cost the session
        if self._channel is not None:
            await self._channel.close()

    async def run(self, steps: Steps[T]) -> T:
        """Does the steps of a rule and returns its result."""
        if self._closed:
            raise RuntimeError("the client is closed")
        try:
            step = next(steps)
            while True:
                try:
                    outcome = await self._do(step)
                except CandelaError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            steps.close()

    async def _do(self, step: Step) -> Any:
        match step:
            case Authorize():
                return await self._authorize(step)
            case Pause():
                return await self._sleep(step.seconds)
            case Send():
                return await self._send(step)
            case Take():
                return await anext(step.stream, None)
            case Work():
                return await asyncio.to_thread(step.run)

    async def _send(self, step: Send[Any, Any]) -> Any:
        metadata = (("authorization", f"Bearer {step.token}"),) if step.token else ()
        try:
            call = self._callable(step.method)(step.request, timeout=step.timeout, metadata=metadata)
            if step.method.client_streams:
                return AsyncStream(call, None, step.method.response, begun=False)
            if not step.method.streams:
                return await call
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return AsyncStream(call, await read(call), step.method.response)

    def _callable(self, method: Method[Any, Any]) -> Any:
        made = self._callables.get(method.path)
        if made is None:
            self._channel = self._channel or _channel(self._endpoint)
            made = maker(self._channel, method)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            self._callables[method.path] = made
        return made

    async def _authorize(self, step: Authorize) -> str:
        """Returns a token; of all tasks that need a new one, the first fetches it and the others wait for the same.

        The refresh is a task of its own: whoever waits may be cancelled, but an answer that is not kept would cost the
        session, because the refresh token is used up.
        """
        token = self.core.keeper.usable(step.stale)
        if token is not None:
            return token
        if self._flight is None:
            self._flight = asyncio.create_task(self.run(self.core.refresh(step.stale)), name="candela refresh")
            self._flight.add_done_callback(self._landed)
        try:
            async with asyncio.timeout(step.remaining):
                return await asyncio.shield(self._flight)
        except TimeoutError as error:
            raise DeadlineExceeded("the call took longer than its timeout") from error
        except CandelaError as error:
            raise copy(error) from error  # each caller gets one of its own, to which its request_id is added

    def _landed(self, flight: "asyncio.Task[str]") -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # everybody may have stopped waiting; then nobody else looks at it


def _channel(endpoint: Endpoint) -> grpc.aio.Channel:
    if endpoint.tls is None:
        return grpc.aio.insecure_channel(endpoint.target, options=CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(endpoint.target, endpoint.tls.credentials(), options=CHANNEL_OPTIONS)
