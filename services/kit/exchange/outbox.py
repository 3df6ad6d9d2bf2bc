"""Frames on their way out: messages of one turn of the loop together, large ones alone."""

import asyncio
from collections import deque
from typing import Any


class Outbox:
    """Collects the elements of frames; one writer takes frame after frame.

    A frame has at most `count` elements and about `size` bytes; one element that is larger travels in a frame of its
    own. `unsent` is how many bytes wait.
    """

    __slots__ = ("_count", "_field", "_frame", "_frames", "_make", "_open", "_size", "_wake", "closed", "unsent")

    def __init__(self, make: Any, field: str, *, size: int, count: int) -> None:
        """Build frames of the class `make`, whose repeated field is `field`."""
        self._make = make
        self._field = field
        self._size = size
        self._count = count
        self._frames: deque[tuple[Any, int]] = deque()
        self._frame: Any = None  # the repeated field of the frame that is open, None without one
        self._open = 0
        self._wake: asyncio.Future[None] | None = None
        self.closed = False
        self.unsent = 0

    def add(self, number: int, size: int) -> Any:
        """Return a new element with the id `number`, to be filled in now with about `size` bytes."""
        frame = self._frame
        if frame is None or self._open + size > self._size or len(frame) >= self._count:
            self._close_frame()
            message = self._make()
            frame = self._frame = getattr(message, self._field)
            self._frames.append((message, 0))
        self._open += size
        self.unsent += size
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        return frame.add(id=number)

    def _close_frame(self) -> None:
        if self._frame is not None:
            self._frames[-1] = (self._frames[-1][0], self._open)
            self._frame = None
        self._open = 0

    async def take(self) -> tuple[Any, int] | None:
        """Return the next frame and its size when there is one; None once `close` was called and all are taken.

        It waits in the writer's own turn, so all that one turn of the loop adds leaves together.
        """
        while not self._frames:
            if self.closed:
                return None
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
            self._wake = None
        return self.next()

    def next(self) -> tuple[Any, int] | None:
        """Return the next frame and its size, None without one."""
        if not self._frames:
            return None
        if len(self._frames) == 1:
            self._close_frame()
        return self._frames.popleft()

    def close(self) -> None:
        """Let the writer end when everything is taken."""
        self.closed = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def left(self) -> list[Any]:
        """Return the frames that were not taken."""
        return [frame for frame, _ in self._frames]

    def sent(self, size: int) -> None:
        """Count a frame that `take` gave as sent."""
        self.unsent -= size
