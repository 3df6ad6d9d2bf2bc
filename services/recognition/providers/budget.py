"""A bound on what several holders may have of something together, such as decoded pixels in memory."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """Lets holders in, in the order they came, as long as what they hold together stays within the total."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, amount: int) -> AsyncIterator[None]:
        """Wait until `amount` is free and have it through the block; more than the total counts as all of it."""
        amount = min(amount, self._total)
        await self._take(amount)
        try:
            yield
        finally:
            self._give_back(amount)

    async def _take(self, amount: int) -> None:
        if not self._waiting and amount <= self._free:
            self._free -= amount
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # its turn came in the same moment
                self._give_back(amount)
            else:
                self._waiting.remove((amount, turn))
                self._let_in()
            raise

    def _give_back(self, amount: int) -> None:
        self._free += amount
        self._let_in()

    def _let_in(self) -> None:
        """Give those in front what they wait for; a large one is not overtaken by small ones for ever."""
        while self._waiting and self._waiting[0][0] <= self._free:
            amount, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= amount
                turn.set_result(None)
