"""Units of work over SQLAlchemy: see uow.py for the rules and an example."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.call import Call, call_or_none
from services.kit.database import Database
from services.kit.database_errors import SerializationConflict, reaching_database, translated
from services.kit.errors import Internal, Unavailable
from services.kit.idempotency import encoder
from services.kit.idempotency_sql import Claim, Claims, Swept
from services.kit.replica import Replica

TxT = TypeVar("TxT", bound="SqlTx")
ResultT = TypeVar("ResultT")
# A conflict is over as soon as the other transaction ends; seconds, grows with each attempt, with jitter.
_RETRY_AFTER = 0.005


@dataclass(slots=True)
class Scope:
    """What a transaction is made of; repositories take `session` and leave the rest alone."""

    session: AsyncSession
    claims: Claims | None = None
    claim: Claim | None = None
    reply: bytes | None = None
    secret: bool = False
    owner: str = ""


class SqlTx:
    """Base of a service's transaction: subclasses make their repositories from `scope.session`."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def reply(self, result: object, *, secret: bool = False, owner: str = "") -> None:
        scope = self._scope
        if scope.claim is not None:
            scope.reply = encoder(scope.claim.call)(result)
            scope.secret, scope.owner = secret, owner

    async def forget_replies(self, tenant: str, owner: str) -> int:
        scope = self._scope
        if scope.claims is None:
            return 0
        return await scope.claims.forget(scope.session, tenant, owner, scope.claim)


def session_of(tx: SqlTx) -> AsyncSession:
    """Return the session under a transaction, for the kit's own tables."""
    return tx._scope.session


async def retrying(
    write: Callable[[], AbstractAsyncContextManager[TxT]], work: Callable[[TxT], Awaitable[ResultT]], attempts: int
) -> ResultT:
    """Do what Units.run says over any way to open a write block."""
    for attempt in range(1, attempts + 1):
        try:
            async with write() as tx:
                return await work(tx)
        except SerializationConflict:
            if attempt == attempts:
                raise
            await asyncio.sleep(_RETRY_AFTER * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
    raise Internal("a unit of work needs one attempt at least")


class SqlUnits(Generic[TxT]):
    """The units of work of one service; one instance per process and database."""

    def __init__(
        self,
        database: Database,
        make: Callable[[Scope], TxT],
        claims: Claims | None = None,
        replica: Replica | None = None,
    ) -> None:
        """Make transactions with `make` (the service's SqlTx class). Without `claims` request ids are refused.

        Reads that may lag go to `replica`.
        """
        self._database = database
        self._make = make
        self._claims = claims
        self._replica = replica
        self._working: set[asyncio.Task[object]] = set()

    @asynccontextmanager
    async def write(self, call: Call | None = None) -> AsyncIterator[TxT]:
        async with self._alone(), self._transaction(self._database.write_session()) as session:
            scope = Scope(session, self._claims)
            if call is not None and call.request_id:
                scope.claim = await self._claimed(session, call)
            yield self._make(scope)
            await self._keep_reply(scope)
            await session.commit()
        if self._replica is not None:
            await self._replica.wrote(call or call_or_none())

    @asynccontextmanager
    async def read(self, call: Call | None = None, *, may_lag: bool = False) -> AsyncIterator[TxT]:
        async with self._alone(), AsyncExitStack() as stack:
            session = await self._lagging(stack, call) if may_lag else None
            if session is None:
                session = await stack.enter_async_context(self._transaction(self._database.read_session()))
            yield self._make(Scope(session))

    async def check_replay(self, call: Call) -> None:
        if self._claims is None or not call.request_id:
            return
        async with self._alone(), self._transaction(self._database.read_session()) as session:
            await self._claims.check(session, call)

    async def run(self, call: Call | None, work: Callable[[TxT], Awaitable[ResultT]], *, attempts: int = 5) -> ResultT:
        return await retrying(lambda: self.write(call), work, attempts)

    def everywhere(self) -> "Sequence[SqlUnits[TxT]]":
        return [self]

    async def sweep(self) -> Swept:
        """Remove kept replies whose time is over; call it every minute or so."""
        if self._claims is None:
            return Swept(0, 0)
        async with self._alone(), self._transaction(self._database.write_session()) as session:
            swept = await self._claims.sweep(session)
            await session.commit()
            return swept

    async def _lagging(self, stack: AsyncExitStack, call: Call | None) -> AsyncSession | None:
        """Return a transaction on the replica; None when there is none, it is away or may not serve this caller."""
        replica = self._replica
        if replica is None or not await replica.may_serve(call or call_or_none()):
            return None
        try:
            return await stack.enter_async_context(self._transaction(replica.database.read_session()))
        except Unavailable:
            replica.failed()
            return None

    async def _claimed(self, session: AsyncSession, call: Call) -> Claim | None:
        if self._claims is None:
            raise Internal(f"{call.method} was sent a request id and its service keeps no replies")
        encoder(call)  # a call without an encoder fails before anything is done
        return await self._claims.claim(session, call)

    async def _keep_reply(self, scope: Scope) -> None:
        if scope.claim is None or scope.claims is None:
            return
        if scope.reply is None:
            raise Internal(f"{scope.claim.call.method} wrote under a request id and kept no reply")
        await scope.claims.keep(scope.session, scope.claim, scope.reply, secret=scope.secret, owner=scope.owner)

    @asynccontextmanager
    async def _transaction(self, session: AsyncSession) -> AsyncIterator[AsyncSession]:
        """Begin, and end by closing: what was not committed is rolled back, also when the task is cancelled."""
        try:
            async with session:
                with reaching_database():
                    _ = await session.connection()
                yield session
        except SQLAlchemyError as error:
            if (ours := translated(error)) is not None:
                raise ours from error
            raise

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Refuse a block inside a block of the same task: on SQLite it would wait for itself."""
        task = asyncio.current_task()
        if task is None:
            raise Internal("units of work need a task")
        if task in self._working:
            raise Internal("a unit of work was opened inside another; use the one that is open")
        self._working.add(task)
        try:
            yield
        finally:
            self._working.discard(task)
