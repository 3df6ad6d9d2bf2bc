"""The four shapes of a call: how each meets the pipeline, and how each tells of a failure.

A behaviour that answers with a stream may be an async generator or a coroutine that writes to its context; both are run
as coroutines here, so that a deadline or a cancellation reaches them wherever they wait.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import Message

from services.kit.errors import CandelaError, Unauthenticated, Unimplemented
from services.kit.grpc_status import STATUS_TRAILER, TRACE_TRAILER, code_from_number, code_of, to_status
from services.kit.identity import AUTHORIZATION
from services.kit.pipeline.core import Pipeline, act_as_caller, is_being_cancelled
from services.kit.pipeline.failures import as_error
from services.kit.pipeline.items import ItemStreams, StreamObservation
from services.kit.pipeline.methods import UNKNOWN_METHOD, MethodInfo
from services.kit.pipeline.streams import Outbox, StreamContext, checked
from services.kit.pipeline.telemetry import Observation

Behaviour = Callable[..., Any]
_Body = Callable[[Any], Awaitable[Any]]


class Shapes:
    """One method's behaviours, made from its servicer's."""

    def __init__(self, pipeline: Pipeline, info: MethodInfo) -> None:
        self._pipeline = pipeline
        self._info = info

    def unary_unary(self, behaviour: Behaviour | None) -> Behaviour:
        handle = self._asynchronous(behaviour)

        async def unary_unary(request: Message, context: Any) -> Any:
            return await self._run(context, lambda: handle(request, context), request)

        return unary_unary

    def stream_unary(self, behaviour: Behaviour | None) -> Behaviour:
        handle = self._asynchronous(behaviour)

        async def stream_unary(requests: Any, context: Any) -> Any:
            guarded = StreamContext(context, None)
            return await self._run(context, lambda: handle(checked(requests), guarded))

        return stream_unary

    def unary_stream(self, behaviour: Behaviour | None) -> Behaviour:
        reply = self._replying(behaviour)

        async def unary_stream(request: Message, context: Any) -> None:
            outbox = Outbox(self._info, context)
            guarded = StreamContext(context, outbox)
            await self._run(context, lambda: reply(request, guarded, outbox), request, outbox)

        return unary_stream

    def stream_stream(self, behaviour: Behaviour | None) -> Behaviour:
        streams = getattr(behaviour, "__self__", None)
        if isinstance(streams, ItemStreams):
            return self._items(streams)
        reply = self._replying(behaviour)

        async def stream_stream(requests: Any, context: Any) -> None:
            outbox = Outbox(self._info, context)
            guarded = StreamContext(context, outbox)
            await self._run(context, lambda: reply(checked(requests), guarded, outbox), None, outbox)

        return stream_stream

    def _items(self, streams: ItemStreams) -> Behaviour:
        streams.attach(self._pipeline)

        async def stream_of_items(_requests: Any, context: Any) -> None:
            headers = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
            authorization = headers.pop(AUTHORIZATION, "")
            seen = StreamObservation(self._info, log=self._pipeline.access_log)

            async def body(_: Any) -> None:
                principal = await self._pipeline.admit(self._info, authorization, seen)
                if principal is None:
                    raise Unauthenticated("a stream of items needs a caller", reason="TOKEN_MISSING")
                await streams.serve(context, principal, authorization)

            await self.guarded(context, seen, body)

        return stream_of_items

    def _asynchronous(self, behaviour: Behaviour | None) -> Behaviour:
        if inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour):
            return behaviour
        if getattr(behaviour, "__module__", "").endswith("_pb2_grpc"):  # inherited from the generated servicer
            return _not_here
        raise TypeError(f"the handler of {self._info.name} is not asynchronous")

    def _replying(self, behaviour: Behaviour | None) -> Callable[[Any, StreamContext, Outbox], Awaitable[None]]:
        handle = self._asynchronous(behaviour)

        async def written(received: Any, context: StreamContext, outbox: Outbox) -> None:
            await handle(received, context)
            outbox.check_ended()

        async def yielded(received: Any, context: StreamContext, outbox: Outbox) -> None:
            async with aclosing(handle(received, context)) as replies:
                async for reply in replies:
                    await outbox.send(reply)
            outbox.check_ended()

        return yielded if inspect.isasyncgenfunction(handle) else written

    async def _run(
        self,
        context: Any,
        work: Callable[[], Awaitable[Any]],
        message: Message | None = None,
        outbox: Outbox | None = None,
    ) -> Any:
        headers = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        authorization = headers.pop(AUTHORIZATION, "")
        act_as_caller(authorization)

        async def body(seen: Observation) -> Any:
            principal = await self._pipeline.admit(self._info, authorization, seen)
            return await self._pipeline.perform(
                self._info,
                work,
                seen=seen,
                principal=principal,
                message=message,
                headers=headers,
                remaining=context.time_remaining(),
                peer=context.peer(),
            )

        return await self.guarded(context, self._pipeline.observe(self._info, headers), body, outbox)

    async def guarded(
        self, context: Any, seen: Observation | StreamObservation, body: _Body, outbox: Outbox | None = None
    ) -> Any:
        """Run `body` between telemetry and errors: what it raises is told to the caller, and `seen` is finished."""
        code, description = grpc.StatusCode.OK, ""
        try:
            if seen.trace_id:
                context.set_trailing_metadata(((TRACE_TRAILER, seen.trace_id),))
            try:
                return await body(seen)
            except grpc.aio.AbortError:  # the handler answered for itself
                raise
            except asyncio.CancelledError as exc:
                if is_being_cancelled():
                    code = grpc.StatusCode.CANCELLED
                    raise
                error = as_error(exc, self._info.name)
            except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is, the caller is told in our own terms
                error = as_error(exc, self._info.name)
            code, description = code_of(error), error.message
            await _tell(context, error, seen.trace_id, outbox)
        finally:
            seen.finish(_final(code, context), description)


async def _not_here(_request: Any, _context: Any) -> None:
    raise Unimplemented("this mesh does not have this method")


async def _tell(context: Any, error: CandelaError, trace_id: str, outbox: Outbox | None) -> None:
    if outbox is not None and await outbox.fail(error, trace_id):
        return
    status = to_status(error, trace_id)
    trailers = ((STATUS_TRAILER, status.SerializeToString()), (TRACE_TRAILER, trace_id))
    await context.abort(code_of(error), status.message, trailers)


def _final(code: grpc.StatusCode, context: Any) -> grpc.StatusCode:
    """Return the code that the caller gets: a handler may have set or aborted with one of its own."""
    if code is not grpc.StatusCode.OK:
        return code
    own = context.code()
    return own if isinstance(own, grpc.StatusCode) else code_from_number(int(own or 0))


def refuse_unknown(pipeline: Pipeline) -> Behaviour:
    """Return the behaviour of every method that does not exist."""
    shapes = Shapes(pipeline, UNKNOWN_METHOD)

    async def body(_: Observation) -> None:
        raise Unimplemented("there is no such method")

    async def refuse(_requests: Any, context: Any) -> None:
        await shapes.guarded(context, pipeline.observe(UNKNOWN_METHOD, {}), body)

    return refuse
