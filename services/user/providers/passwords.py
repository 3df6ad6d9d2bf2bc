"""Password hashes: bcrypt with a random salt, in threads, a bounded number at a time."""

import asyncio
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import bcrypt

from services.kit.errors import ResourceExhausted
from services.user.domain.accounts import PASSWORD_MAX_BYTES, check_password

T = TypeVar("T")


class BcryptHasher:
    """Hashes and checks. bcrypt lets other threads run meanwhile; calls beyond `threads` wait their turn."""

    def __init__(self, cost: int = 12, threads: int = 0, most_waiting: int = 100) -> None:
        """Take bcrypt's cost (each step doubles the time; 12 is about 0.25 s) and threads, 0 for one per core.

        `admit` refuses while `most_waiting` hashes are being made or wait.
        """
        self._cost = cost
        self._most_waiting = most_waiting
        self._waiting = 0
        self._executor = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="bcrypt")
        # Nobody's password, hashed at the same cost: what an unknown user's password is compared with.
        self._nobody = bcrypt.hashpw(secrets.token_bytes(32), bcrypt.gensalt(cost))

    def admit(self) -> None:
        if self._waiting >= self._most_waiting:
            message = "too many passwords are being checked; try again"
            raise ResourceExhausted(message, reason="OVERLOADED", retry_after=1.0)

    async def hash(self, password: str) -> bytes:
        check_password(password)
        return await self._apart(partial(bcrypt.hashpw, password.encode(), bcrypt.gensalt(self._cost)))

    async def verify(self, password: str, known: bytes | None) -> bool:
        secret = password.encode()
        cut = secret[:PASSWORD_MAX_BYTES]  # bcrypt refuses more; the work is done all the same, for the time it takes
        right = await self._apart(partial(bcrypt.checkpw, cut, known or self._nobody))
        return right and known is not None and len(secret) <= PASSWORD_MAX_BYTES

    async def _apart(self, work: Callable[[], T]) -> T:
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let the threads end; hashes that nobody began are dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)
