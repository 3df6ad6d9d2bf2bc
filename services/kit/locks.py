"""Locks across processes, over Redis, with fencing tokens.

    async with locks.hold("rebuild the index") as held:        # waits for its turn; renews itself while the block runs
        async with units.write() as tx:
            await tx.fences.pass_(held.name, held.token)       # refused once somebody else has held the lock since
            ...

A lock in Redis alone cannot keep two writers apart: its holder may be paused longer than the lease and go on believing.
So every holder gets a token larger than all before it, and what the lock protects refuses smaller ones (fences.py).
The lock saves work; the fence keeps the data right. Tokens grow also when Redis has lost its data: they are at least
the time in microseconds.

Both keys of a lock carry its name as their hash tag, so the scripts run on a cluster as well.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import quote

from redis.asyncio import Redis

from services.kit.clock import Clock, SystemClock
from services.kit.errors import Aborted, Unavailable
from services.kit.redis import reaching_redis
from services.kit.tasks import end

_LOG = logging.getLogger(__name__)

_ACQUIRE = """
redis.replicate_commands()
local free = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
if not free then
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('GET', KEYS[2])
end
local time = redis.call('TIME')
local token = math.max((tonumber(redis.call('GET', KEYS[2])) or 0) + 1, time[1] * 1000000 + time[2])
token = string.format('%.0f', token)
redis.call('SET', KEYS[2], token)
return token
"""
_EXTEND = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('PEXPIRE', KEYS[1], ARGV[2])"
_RELEASE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('DEL', KEYS[1])"


class LockLost(Aborted):
    """The lock is somebody else's by now, or may be: what was done under it must be checked by its fence."""


def lock_keys(name: str) -> tuple[str, str]:
    """Return the keys of a lock: who holds it, and its last token."""
    tag = f"candela:{{lock:{quote(name, safe='-_.')}}}"
    return f"{tag}:owner", f"{tag}:fence"


@dataclass(slots=True)
class Held:
    """A lock that this process holds, as far as it can know. `token` is for fences."""

    name: str
    token: int
    owner: str = field(repr=False)
    until: float  # of the clock's monotonic seconds, counted from before Redis was asked
    clock: Clock = field(repr=False)
    lost: bool = False

    @property
    def is_held(self) -> bool:
        """Say whether nobody else can have the lock yet."""
        return not self.lost and self.clock.monotonic() < self.until

    def check(self) -> None:
        """Raise LockLost when somebody else may have the lock."""
        if not self.is_held:
            raise LockLost(f"the lock {self.name!r} was lost")


class Locks:
    """Takes locks. Names are the mesh's: `user sweep`, `move default 01h…`."""

    def __init__(self, redis: Redis, clock: Clock | None = None) -> None:
        self._redis = redis
        self._clock: Clock = clock or SystemClock()

    async def acquire(self, name: str, lease: float) -> Held | None:
        """Take a lock for `lease` seconds; None when it is taken. Unavailable when Redis does not answer."""
        owner, asked = secrets.token_hex(16), self._clock.monotonic()
        with reaching_redis():
            token = int(await self._redis.eval(_ACQUIRE, 2, *lock_keys(name), owner, _milliseconds(lease)))
        return Held(name, token, owner, asked + lease, self._clock) if token else None

    async def extend(self, held: Held, lease: float) -> bool:
        """Hold a lock for `lease` seconds from now; False when it is somebody else's or was free meanwhile."""
        asked = self._clock.monotonic()
        with reaching_redis():
            kept = await self._redis.eval(_EXTEND, 1, lock_keys(held.name)[0], held.owner, _milliseconds(lease))
        if kept:
            held.until = asked + lease
        else:
            held.lost = True
        return bool(kept)

    async def release(self, held: Held) -> bool:
        """Give a lock back; False when it was not ours any more."""
        held.lost = True
        with reaching_redis():
            return bool(await self._redis.eval(_RELEASE, 1, lock_keys(held.name)[0], held.owner))

    @asynccontextmanager
    async def hold(self, name: str, *, lease: float = 10.0, patience: float = 30.0) -> AsyncIterator[Held]:
        """Hold a lock through the block, renewing it every third of `lease`; times in seconds.

        Unavailable when it is not free within `patience` or Redis does not answer. When the lock is lost meanwhile
        (Redis is away for longer than the lease, or this process stood still), the block is cancelled and ends in
        LockLost.
        """
        held = await self._acquired(name, lease, patience)
        task = asyncio.current_task()
        keeper = asyncio.create_task(self._keep(held, lease, task), name=f"lock {name}")
        try:
            yield held
        except asyncio.CancelledError:
            if held.lost and task is not None and task.uncancel() == 0:
                raise LockLost(f"the lock {name!r} was lost") from None
            raise
        finally:
            await end(keeper)
            with suppress(Unavailable):  # then the lease ends it
                await self.release(held)

    async def _acquired(self, name: str, lease: float, patience: float) -> Held:
        deadline = self._clock.monotonic() + patience
        pause = min(0.02, lease / 10)
        while (held := await self.acquire(name, lease)) is None:
            if self._clock.monotonic() >= deadline:
                raise Unavailable(f"the lock {name!r} is taken", metadata={"lock": name}, retry_after=lease)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, lease / 4, 0.5)
        return held

    async def _keep(self, held: Held, lease: float, task: "asyncio.Task[object] | None") -> None:
        """Renew until that fails for good, then cancel the block."""
        while True:
            await asyncio.sleep(max(0.0, min(lease / 3, held.until - self._clock.monotonic())))
            try:
                async with asyncio.timeout(lease / 3):
                    kept = await self.extend(held, lease)
            except (Unavailable, TimeoutError):
                kept = held.is_held  # for now; it is asked again
            if not kept:
                held.lost = True
                _LOG.warning("the lock %r was lost", held.name)
                if task is not None:
                    task.cancel()
                return


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
