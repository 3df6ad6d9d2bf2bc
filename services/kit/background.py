"""Work that repeats beside the calls: sweeping, healing, counting."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

_LOG = logging.getLogger(__name__)


@asynccontextmanager
async def repeating(name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Do `work` again and again while the block is open, each time `seconds` after the last one ended.

    A failure is logged, once until the work succeeds again, and never ends the repetition. Leaving the block cancels
    a turn that is under way and waits for it to end.
    """
    task = asyncio.create_task(_repeat(name, seconds, work), name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _repeat(name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    failing = False
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:  # noqa: BLE001 - whatever it was, the next turn may work; it is logged
            if not failing:
                _LOG.warning("%s failed and will be tried again", name, exc_info=True)
            failing = True
        else:
            if failing:
                _LOG.info("%s works again", name)
            failing = False
