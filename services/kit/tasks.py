"""Ending tasks that run beside the calls."""

import asyncio
from contextlib import suppress

_AGAIN_SECONDS = 0.5


async def end(task: "asyncio.Task[object] | asyncio.Task[None]") -> None:
    """Cancel a task and return when it has ended; raises what it failed with, unless that was the cancellation.

    Asks again every half second: a library in the middle of a connection may take a cancellation for a failure of its
    own, and a task that goes on after failures would then never end, and nor would whoever waits for it.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_AGAIN_SECONDS)
    with suppress(asyncio.CancelledError):
        task.result()
