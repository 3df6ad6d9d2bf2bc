"""How much work is taken on at once, so that memory stays bounded however many callers there are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.kit.errors import ResourceExhausted


class Admission:
    """Lets a bounded number of documents be worked on, and a bounded number of bytes wait for it."""

    def __init__(self, *, running: int, waiting_bytes: int, retry_after: float = 2.0) -> None:
        """At most `running` documents are worked on; all admitted ones hold at most `waiting_bytes` bytes of input.

        A single document is always admitted when nothing else is, however large.
        """
        self._slots = asyncio.Semaphore(running)
        self._waiting_bytes = waiting_bytes
        self._admitted_bytes = 0
        self._retry_after = retry_after

    @asynccontextmanager
    async def admit(self, size: int) -> AsyncIterator[None]:
        """Wait for a slot and hold it through the block; ResourceExhausted (OVERLOADED) at once when too much waits."""
        if self._admitted_bytes and self._admitted_bytes + size > self._waiting_bytes:
            raise ResourceExhausted(
                "too many documents are waiting to be read", reason="OVERLOADED", retry_after=self._retry_after
            )
        self._admitted_bytes += size
        try:
            async with self._slots:
                yield
        finally:
            self._admitted_bytes -= size
