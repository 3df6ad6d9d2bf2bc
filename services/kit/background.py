"""Work that repeats beside the calls: sweeping, healing, counting."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from services.kit.errors import Unavailable
from services.kit.locks import Locks
from services.kit.tasks import end

_LOG = logging.getLogger(__name__)
Work = Callable[[], Awaitable[object]]


@asynccontextmanager
async def repeating(name: str, seconds: float, work: Work) -> AsyncIterator[None]:
    """Do `work` again and again while the block is open, each time `seconds` after the last one ended.

    A failure is logged, once until the work succeeds again, and never ends the repetition. Leaving the block cancels
    a turn that is under way and waits for it to end.
    """
    task = asyncio.create_task(_repeat(name, seconds, work), name=name)
    try:
        yield
    finally:
        await end(task)


def taking_turns(locks: Locks, name: str, seconds: float, work: Work) -> Work:
    """Return `work` as several replicas repeat it: only one of them does it within `seconds`.

    They should be a little less than between two turns. The lock is taken and left to end by itself; who fails gives it
    back. While Redis is away everybody works: twice does no harm to what is repeated anyway, not at all does.
    """

    async def turn() -> object:
        try:
            mine = await locks.acquire(name, seconds)
        except Unavailable:
            return await work()
        if mine is None:
            return None
        try:
            return await work()
        except BaseException:
            with suppress(Unavailable):
                await locks.release(mine)
            raise

    return turn


def _untraced() -> trace.Span:
    """Return a parent that is not sampled: calls made every few seconds would push people's traces out of the store."""
    ids = RandomIdGenerator()
    return trace.NonRecordingSpan(trace.SpanContext(ids.generate_trace_id(), ids.generate_span_id(), is_remote=False))


async def _repeat(name: str, seconds: float, work: Work) -> None:
    failing = False
    while True:
        await asyncio.sleep(seconds)
        try:
            with trace.use_span(_untraced()):
                await work()
        except Exception:  # noqa: BLE001 - whatever it was, the next turn may work; it is logged
            if not failing:
                _LOG.warning("%s failed and will be tried again", name, exc_info=True)
            failing = True
        else:
            if failing:
                _LOG.info("%s works again", name)
            failing = False
