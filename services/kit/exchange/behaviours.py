"""Ordinary handlers behind a stream: the very functions of a servicer, each call in a task of its own.

For methods that wait for a database or another service, where a task's 15 µs do not matter. The handler sees the call
as it does behind its unary method: `current_call()`, the span, and cancellation when nobody waits any more.
"""

import asyncio
import inspect
from contextlib import aclosing
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace

from services.kit.call import handling
from services.kit.errors import Internal
from services.kit.exchange.incoming import Incoming
from services.kit.pipeline.core import fingerprint, is_being_cancelled
from services.kit.pipeline.failures import as_error
from services.kit.pipeline.item_telemetry import span_of


class NoContext:
    """Stands where gRPC's context is behind a unary method: what is needed of that, `current_call()` has."""

    def __getattr__(self, name: str) -> Any:
        raise Internal(f"a handler behind Exchange has no gRPC context (it asked for `{name}`)")


_NO_CONTEXT = NoContext()


def is_behaviour(handler: object) -> bool:
    """Say whether `handler` is an asynchronous function or an asynchronous generator function."""
    return inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler)


async def run(incoming: Incoming, behaviour: Any) -> None:
    """Let `behaviour` answer a call; what it raises fails that call alone."""
    info = incoming.method.info
    otel_context.attach(trace.set_span_in_context(span_of(incoming.trace())))  # of this task, and it ends with it
    try:
        mark = await fingerprint(info, incoming.request) if incoming.request_id else b""
        with handling(incoming.call(mark)):
            if inspect.isasyncgenfunction(behaviour):
                await _replies(incoming, behaviour)
            else:
                incoming.reply(await behaviour(incoming.request, _NO_CONTEXT))
    except asyncio.CancelledError as exc:
        if incoming.done or is_being_cancelled():
            raise
        incoming.fail(as_error(exc, info.name))
    except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is, the caller is told in our own terms
        incoming.fail(as_error(exc, info.name))


async def _replies(incoming: Incoming, behaviour: Any) -> None:
    terminal = incoming.method.info.terminal
    async with aclosing(behaviour(incoming.request, _NO_CONTEXT)) as replies:
        async for reply in replies:
            last = terminal is not None and reply.WhichOneof(terminal.oneof) in ("completed", "error")
            if not last:
                await incoming.session.room(incoming)
            elif incoming.done:
                raise Internal("a reply after the terminal event")
            incoming.reply(reply, last)
    if not incoming.done:
        if terminal is not None:
            raise Internal("the stream ended without its terminal event")
        incoming.finish()
