"""The smallest service with state: accounts whose balance is read, changed in Python and written back."""

import asyncio
import hashlib
from dataclasses import dataclass, field, replace

from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import Column, ForeignKey, Integer, Select, Table, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.call import Call, Principal
from services.kit.clock import ManualClock
from services.kit.database import Database, for_update
from services.kit.idempotency import Outcome, Replies
from services.kit.idempotency_sql import Claims, claims_table
from services.kit.secrets import Envelope
from services.kit.types import Id, UtcDateTime, new_metadata
from services.kit.uow_sql import Scope, SqlTx, SqlUnits

metadata = new_metadata()
CLAIMS = claims_table(metadata)
ACCOUNTS = Table(
    "accounts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("balance", Integer, nullable=False),
    Column("seen_at", UtcDateTime, nullable=True),
)
ENTRIES = Table(
    "entries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account", Id, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("made_at", UtcDateTime, nullable=True),
)


class Accounts:
    """The repository."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def open(self, account: str) -> None:
        await self.session.execute(insert(ACCOUNTS).values(id=account, balance=0))

    async def balance(self, account: str) -> int:
        balance: int = (await self.session.execute(_balance_of(account))).scalar_one()
        return balance

    async def locked_balance(self, account: str) -> int:
        balance: int = (await self.session.execute(for_update(_balance_of(account)))).scalar_one()
        return balance

    async def set_balance(self, account: str, balance: int) -> None:
        await self.session.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account).values(balance=balance))


def _balance_of(account: str) -> Select[int]:
    return select(ACCOUNTS.c.balance).where(ACCOUNTS.c.id == account)


class BankTx(SqlTx):
    """Its transaction."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.session = scope.session
        self.accounts = Accounts(scope.session)


def deposit_call(request_id: str, *, body: bytes = b"deposit 1", principal: Principal | None = None) -> Call:
    """Return a deposit as the pipeline would build it."""
    who = principal or Principal(tenant="default", user="ada")
    return Call("/bank/Deposit", who, request_id, hashlib.sha256(body).digest())


def anonymous(call: Call) -> Call:
    """Return the same call from nobody."""
    return replace(call, principal=None)


@dataclass
class Bank:
    """Its composition root."""

    database: Database
    table: Table
    clock: ManualClock
    envelope: Envelope | None
    replies: Replies = field(default_factory=Replies)

    def __post_init__(self) -> None:
        self.units = SqlUnits(self.database, BankTx, Claims(self.table, self.clock, self.envelope))

    async def deposit(self, call: Call, *, secret: bool = False, owner: str = "") -> str:
        """Add one, slowly enough for others to come in between, and answer with the new balance."""
        async with self.units.write(call) as tx:
            balance = await tx.accounts.locked_balance("a")
            await asyncio.sleep(0)
            await tx.accounts.set_balance("a", balance + 1)
            answer = f"balance {balance + 1}"
            tx.reply(answer, secret=secret, owner=owner)
        return answer

    async def answer(self, call: Call, *, secret: bool = False) -> Outcome[StringValue]:
        """Deposit as a servicer would."""
        return await self.replies.attach(
            call, StringValue, lambda call: self.deposit(call, secret=secret), lambda text: StringValue(value=text)
        )

    async def balance(self) -> int:
        async with self.units.read() as tx:
            return await tx.accounts.balance("a")
