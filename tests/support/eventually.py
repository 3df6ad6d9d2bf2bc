"""Waiting for something to become true, instead of sleeping and hoping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.1


@overload
async def eventually(probe: Callable[[], Awaitable[T]], *, timeout: float = 5.0) -> T: ...


@overload
async def eventually(probe: Callable[[], T], *, timeout: float = 5.0) -> T: ...


async def eventually(probe: Callable[[], Any], *, timeout: float = 5.0) -> Any:
    """Calls `probe` until it returns something true, and returns that.

    `probe` may be a coroutine function. An AssertionError in it counts as "not yet"; any other exception ends the wait.
    After `timeout` seconds the last AssertionError is raised, or one that says what `probe` returned last.
    """
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        failure: AssertionError
        try:
            result = probe()
            value = await result if inspect.isawaitable(result) else result
        except AssertionError as error:
            failure = error
        else:
            if value:
                return value
            failure = AssertionError(f"still {value!r} after {timeout} s")
        if time.monotonic() >= deadline:
            raise failure
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def eventually_sync(probe: Callable[[], T], *, timeout: float = 5.0) -> T:
    """Does what `eventually` does, for tests without an event loop."""
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        failure: AssertionError
        try:
            value = probe()
        except AssertionError as error:
            failure = error
        else:
            if value:
                return value
            failure = AssertionError(f"still {value!r} after {timeout} s")
        if time.monotonic() >= deadline:
            raise failure
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
