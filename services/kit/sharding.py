"""One service's users spread over several databases.

Every user has a slot (of 4096, by a hash of tenant and user), every slot a shard, by settings:

    CANDELA_RECOGNITION_SHARDS="one 0-2047 postgresql+asyncpg://…/a; two 2048-4095 postgresql+asyncpg://…/b; three - …"

That shard is where a user's rows are unless they were moved (sharding_move.py). Where they are is written down in the
shards themselves, in the table `shard_homes`, and every transaction reads that row first, in the same transaction as
all else: whatever a process remembers may be old, what it then does cannot be at the wrong place.

| state there | means |
|---|---|
| HERE, or no row in the slot's own shard | the rows are here |
| MOVING | still here, on their way to `peer`; readers read, writers wait, until `until` at the longest |
| GONE | they are in `peer` since the move of this `epoch` |
| ARRIVING | on their way here from `peer`; here once `peer` says GONE with the same `epoch` |

Units for a call go to its caller's shard; those for nobody go to the first shard.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Generic, TypeVar

from services.kit.call import Call
from services.kit.clock import Clock
from services.kit.database_errors import SerializationConflict
from services.kit.errors import Internal, Unavailable
from services.kit.idempotency_sql import Swept
from services.kit.shard_homes import Elsewhere, Homes, Moving, Unsettled
from services.kit.shard_map import ShardMap, User
from services.kit.uow_sql import SqlTx, SqlUnits, retrying, session_of

TxT = TypeVar("TxT", bound=SqlTx)
ResultT = TypeVar("ResultT")
_HOPS = 8  # shards asked in a row before the search pauses: a move goes on meanwhile
_REMEMBERED = 100_000


class ShardedUnits(Generic[TxT]):
    """The units of work of a service over all its shards."""

    def __init__(
        self, shards: Mapping[str, SqlUnits[TxT]], slots: ShardMap, homes: Homes, clock: Clock, patience: float = 10.0
    ) -> None:
        """`patience` is how long a writer waits for a move to end, in seconds."""
        self._shards = shards
        self._map = slots
        self._homes = homes
        self._clock = clock
        self._patience = patience
        self._remembered: dict[User, str] = {}

    @asynccontextmanager
    async def write(self, call: Call | None = None) -> AsyncIterator[TxT]:
        async with AsyncExitStack() as stack:
            yield await self._opened(stack, call, lambda units: units.write(call), write=True)

    @asynccontextmanager
    async def read(self, call: Call | None = None, *, may_lag: bool = False) -> AsyncIterator[TxT]:
        async with AsyncExitStack() as stack:
            yield await self._opened(stack, call, lambda units: units.read(call, may_lag=may_lag), write=False)

    async def check_replay(self, call: Call) -> None:
        async with AsyncExitStack() as stack:
            home = await self._home(stack, call)
        await self._shards[home].check_replay(call)

    async def run(self, call: Call | None, work: Callable[[TxT], Awaitable[ResultT]], *, attempts: int = 5) -> ResultT:
        return await retrying(lambda: self.write(call), work, attempts)

    def everywhere(self) -> Sequence[SqlUnits[TxT]]:
        return list(self._shards.values())

    async def sweep(self) -> Swept:
        """Remove kept replies whose time is over, in every shard."""
        swept = [await units.sweep() for units in self._shards.values()]
        return Swept(sum(one.secrets for one in swept), sum(one.claims for one in swept))

    async def _home(self, stack: AsyncExitStack, call: Call) -> str:
        await self._opened(stack, call, lambda units: units.read(call), write=False)
        user = _user(call)
        return self._first if user is None else self._remembered.get(user, self._map.default_of(user))

    @property
    def _first(self) -> str:
        return next(iter(self._shards))

    async def _opened(
        self,
        stack: AsyncExitStack,
        call: Call | None,
        begin: Callable[[SqlUnits[TxT]], AbstractAsyncContextManager[TxT]],
        *,
        write: bool,
    ) -> TxT:
        """Begin a transaction where the caller's rows are; it ends with `stack`."""
        user = _user(call)
        if user is None:
            return await stack.enter_async_context(begin(self._shards[self._first]))
        deadline, pause = self._clock.monotonic() + self._patience, 0.005
        while True:
            try:
                return await self._found(stack, user, begin, write=write)
            except Moving:
                if self._clock.monotonic() >= deadline:
                    raise Unavailable("this user's data is being moved", retry_after=1.0) from None
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause = min(2 * pause, 0.1)

    async def _found(
        self,
        stack: AsyncExitStack,
        user: User,
        begin: Callable[[SqlUnits[TxT]], AbstractAsyncContextManager[TxT]],
        *,
        write: bool,
    ) -> TxT:
        """Follow the signs from shard to shard; Moving when they lead nowhere for now."""
        default = self._map.default_of(user)
        name, epoch = self._remembered.get(user, default), None
        for _ in range(_HOPS):
            if name not in self._shards:
                raise Internal(f"a user's rows are in the shard {name!r}, which the settings do not have")
            try:
                async with AsyncExitStack() as attempt:
                    tx = await attempt.enter_async_context(begin(self._shards[name]))
                    await self._homes.confirm(session_of(tx), user, default=name == default, epoch=epoch, write=write)
                    stack.push_async_exit(attempt.pop_all())
                    self._remember(user, name, default)
                    return tx
            except SerializationConflict:
                continue  # MariaDB: two first writers met. Nothing was done in this transaction yet
            except Unsettled as found:
                async with self._shards[name].write() as tx:
                    await self._homes.settle(session_of(tx), user, found.home)
            except Elsewhere as sign:
                name, epoch = sign.shard or default, sign.epoch
                self._remembered.pop(user, None)
        raise Moving

    def _remember(self, user: User, name: str, default: str) -> None:
        if name == default:
            self._remembered.pop(user, None)
            return
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[user] = name


def _user(call: Call | None) -> User | None:
    who = call.principal if call is not None else None
    return User(who.tenant, who.user) if who is not None and who.user else None
