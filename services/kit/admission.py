"""How much work is taken on at once, so that memory stays bounded however many callers there are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.kit.errors import ResourceExhausted


class Admission:
    """Lets a bounded number of pieces of work run, and a bounded number of bytes wait for it."""

    def __init__(
        self,
        *,
        running: int,
        waiting_bytes: int,
        retry_after: float = 2.0,
        refusal: str = "too much is waiting to be worked on",
    ) -> None:
        """At most `running` are worked on; all admitted ones hold at most `waiting_bytes` bytes of input.

        A single one is always admitted when nothing else is, however large. `refusal` is what the others are told.
        """
        self._slots = asyncio.Semaphore(running)
        self._waiting_bytes = waiting_bytes
        self._admitted_bytes = 0
        self._retry_after = retry_after
        self._refusal = refusal

    @asynccontextmanager
    async def admit(self, size: int) -> AsyncIterator[None]:
        """Wait for a slot and hold it through the block; ResourceExhausted (OVERLOADED) at once when too much waits."""
        if self._admitted_bytes and self._admitted_bytes + size > self._waiting_bytes:
            raise ResourceExhausted(self._refusal, reason="OVERLOADED", retry_after=self._retry_after)
        self._admitted_bytes += size
        try:
            async with self._slots:
                yield
        finally:
            self._admitted_bytes -= size
