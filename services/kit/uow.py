"""Units of work: one use case, one transaction, done once per request id.

What use cases and ports see; the SQL side is uow_sql.py. A service's ports.py names its transaction, its storage.py
makes it, its use case works in it, its servicer answers with it:

    class UserTx(Tx, Protocol):                                   # ports.py
        users: Users

    class SqlUserTx(SqlTx):                                       # storage.py
        def __init__(self, scope: Scope) -> None:
            super().__init__(scope)
            self.users = SqlUsers(scope.session)

    async def register(call: Call, units: Units[UserTx], ids: Ids, wanted: NewUser) -> User:      # usecases.py
        digest = await hash_password(wanted.password)             # slow things before the transaction, not in it
        async with units.write(call) as tx:                       # a repeated request id raises Replay here
            user = await tx.users.add(User(id=ids.new(), email=wanted.email, password=digest))
            tx.reply(user, owner=user.id)                         # kept in the same transaction
        return user

    class UserServicer(user_service_pb2_grpc.UserServiceServicer):                                # api.py
        async def CreateUser(self, request: pb.CreateUserRequest, context: Context) -> user_pb2.User:
            new = wanted(request)
            return await self.replies.run(
                current_call(), user_pb2.User, lambda call: register(call, self.units, self.ids, new), to_proto
            )

    units = SqlUnits(Database(url), SqlUserTx, Claims(requests, clock, envelope))                 # main.py
    replies = Replies()

Rules. A write block that was given a call with a request id must say `tx.reply(...)` before it ends. A block that
raises leaves nothing behind, neither effect nor claim: the same request id may be tried again. Work that must stay
although the call fails (a counter of wrong passwords) goes into a write block of its own, without the call. One task
opens one block at a time; what a use case reads while it writes, it reads through the same `tx`.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from services.kit.call import Call

TxT = TypeVar("TxT")
TxT_co = TypeVar("TxT_co", covariant=True)
ResultT = TypeVar("ResultT")


class Tx(Protocol):
    """What every service's transaction offers beside its repositories."""

    def reply(self, result: object, *, secret: bool = False, owner: str = "") -> None:
        """Keep `result` as the answer to this request id, together with what the transaction writes.

        `secret` replies (they show a key or a token once) are kept encrypted and for 10 minutes only. `owner` is the
        user whose data the reply shows, the caller unless given; `forget_replies` finds it by that. Without a request
        id nothing is kept and the call does nothing.
        """

    async def forget_replies(self, tenant: str, owner: str) -> int:
        """Delete the kept replies of one user (erasure) but this request's own; return how many there were."""


class Units(Protocol[TxT_co]):
    """Makes the transactions of one service."""

    def write(self, call: Call | None = None) -> AbstractAsyncContextManager[TxT_co]:
        """Open a transaction that commits when the block ends and rolls back when it raises.

        With a request id in `call`, raises Replay when the request was done before, AlreadyExists
        (REQUEST_ID_REUSED) when the id belongs to another request and AlreadyExists (REPLY_EXPIRED) when the reply
        held a secret and is gone. Unavailable when the database is away or overrun.
        """

    def read(self, call: Call | None = None, *, may_lag: bool = False) -> AbstractAsyncContextManager[TxT_co]:
        """Open a transaction that sees one snapshot and cannot write.

        With `may_lag` it may be the snapshot of a replica, some seconds old, unless the caller of `call` wrote just
        now. Never for what decides a write, and never for who somebody is and what they may.
        """

    async def check_replay(self, call: Call) -> None:
        """Raise what `write` would raise for a request id that was answered before; do nothing for a new one.

        For use cases whose work before the transaction is slow: a repeat is answered without it. Two identical calls
        at the same time both pass; `write` still lets only one of them take effect.
        """

    async def run(
        self, call: Call | None, work: "Callable[[TxT_co], Awaitable[ResultT]]", *, attempts: int = 5
    ) -> ResultT:
        """Do `work` in a write block, again from its start when the database gave up on it in favour of another.

        Only for work without effects outside the transaction. SerializationConflict (ABORTED) after `attempts` tries.
        """

    def everywhere(self) -> "Sequence[Units[TxT_co]]":
        """Return the units of each database that the service has, for what must be done in all of them."""


class Replay(Exception):
    """The request was done before: `reply` holds the bytes that were kept then."""

    def __init__(self, reply: bytes) -> None:
        super().__init__("this request id was answered before")
        self.reply = reply
