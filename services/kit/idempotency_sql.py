"""The table of claimed request ids, and what happens to its rows.

The row is inserted as the first statement of the write transaction, without a reply, and gets its reply as the last.
Two identical requests meet at the primary key: the second insert waits until the first transaction ends (on SQLite it
waits for the write lock already), then either collides and reads the finished reply, or, when the first rolled
back, becomes the first itself. A committed row without a reply can only be one whose secret was wiped.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Delete,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Update,
    and_,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.call import Call
from services.kit.clock import Clock
from services.kit.database_errors import SerializationConflict, translated
from services.kit.errors import Aborted, AlreadyExists, Internal
from services.kit.idempotency import MAX_REQUEST_ID, RETENTION, SECRET_RETENTION, ClaimKey, claim_key
from services.kit.secrets import Envelope, SecretPlace
from services.kit.types import Digest, Id, UtcDateTime
from services.kit.uow import Replay

TABLE = "request_claims"
_TRIES = 5


def claims_table(metadata: MetaData) -> Table:
    """Add the table to a service's metadata. Its migration is `migrations_tables.create_request_claims`."""
    return Table(
        TABLE,
        metadata,
        Column("tenant", Id, primary_key=True),
        Column("scope", String(80), primary_key=True),
        Column("method", String(160), primary_key=True),
        Column("request_id", String(MAX_REQUEST_ID), primary_key=True),
        Column("owner", Id, nullable=False),
        Column("fingerprint", Digest, nullable=False),
        Column("reply", LargeBinary, nullable=True),
        Column("sealed", Boolean(create_constraint=False), nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("reply_until", UtcDateTime, nullable=False),
        Column("kept_until", UtcDateTime, nullable=False),
        Index("ix_request_claims_kept_until", "kept_until"),
        Index("ix_request_claims_owner", "tenant", "owner"),
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """A request id that this transaction owns."""

    key: ClaimKey
    call: Call


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed."""

    secrets: int
    claims: int


class Claims:
    """Claims request ids inside transactions of one service's database."""

    def __init__(
        self, table: Table, clock: Clock, envelope: Envelope | None = None, retention: timedelta = RETENTION
    ) -> None:
        """Use `table` from `claims_table`. Without an envelope no reply may be secret. ValueError under 24 h."""
        if retention < RETENTION:
            raise ValueError("replies are kept for 24 hours at least")
        self._table = table
        self._clock = clock
        self._envelope = envelope
        self._retention = retention

    async def claim(self, session: AsyncSession, call: Call) -> Claim | None:
        """Begin the session's transaction with the claim; None without a request id. Raises as Units.write says."""
        key = claim_key(call)
        if key is None:
            return None
        for _ in range(_TRIES):
            try:
                await session.execute(insert(self._table).values(self._fresh(key, call)))
                return Claim(key, call)
            except IntegrityError:
                await session.rollback()
                await self._answer(session, key, call)
                await session.rollback()  # the row was swept in between: claim it again
            except DBAPIError as error:
                # MariaDB lets several that wait for a claim which is given up deadlock. Nothing was done yet: again.
                if not isinstance(translated(error), SerializationConflict):
                    raise
                await session.rollback()
        raise Aborted("the request id is being claimed and given up by others; retry")

    async def check(self, session: AsyncSession, call: Call) -> None:
        """Raise what `claim` would raise for a call that was answered before; claims nothing."""
        key = claim_key(call)
        if key is not None:
            await self._answer(session, key, call)

    def _fresh(self, key: ClaimKey, call: Call) -> dict[str, object]:
        now = self._clock.now()
        owner = call.principal.user if call.principal else ""
        return {
            **_columns(key),
            "owner": owner,
            "fingerprint": call.fingerprint,
            "sealed": False,
            "created_at": now,
            "reply_until": now + self._retention,
            "kept_until": now + self._retention,
        }

    async def _answer(self, session: AsyncSession, key: ClaimKey, call: Call) -> None:
        """Raise what a repeated request deserves; return when there is no such row after all."""
        table = self._table
        columns = (table.c.fingerprint, table.c.reply, table.c.sealed, table.c.reply_until)
        row = (await session.execute(select(*columns).where(self._is(key)))).one_or_none()
        if row is None:
            return
        fingerprint, reply, sealed, until = row
        if not hmac.compare_digest(fingerprint, call.fingerprint):
            metadata = {"request_id": key.request_id}
            message = "this request_id was used for another request"
            raise AlreadyExists(message, reason="REQUEST_ID_REUSED", metadata=metadata)
        raise Replay(self._readable(key, reply, sealed, until))

    def _readable(self, key: ClaimKey, reply: bytes | None, sealed: bool, until: datetime) -> bytes:
        if reply is None or (sealed and self._clock.now() >= until):
            message = "the request was done before; its reply held a secret and is no longer kept"
            raise AlreadyExists(message, reason="REPLY_EXPIRED", metadata={"request_id": key.request_id})
        return self._require_envelope().open(reply, _place(key)) if sealed else reply

    async def keep(self, session: AsyncSession, claim: Claim, reply: bytes, *, secret: bool, owner: str) -> None:
        """Store the reply of a claim in its transaction."""
        values: dict[str, object] = {"reply": reply}
        if secret:
            sealed = self._require_envelope().seal(reply, _place(claim.key))
            values = {"reply": sealed, "sealed": True, "reply_until": self._clock.now() + SECRET_RETENTION}
        if owner:
            values["owner"] = owner
        await session.execute(update(self._table).where(self._is(claim.key)).values(values))

    async def forget(self, session: AsyncSession, tenant: str, owner: str, claim: Claim | None) -> int:
        """Delete the replies of one user but `claim`'s own; return how many there were."""
        mine = and_(self._table.c.tenant == tenant, self._table.c.owner == owner)
        others = mine if claim is None else and_(mine, ~self._is(claim.key))
        return await _affected(session, delete(self._table).where(others))

    async def sweep(self, session: AsyncSession) -> Swept:
        """Wipe secrets after 10 minutes and delete claims after their retention."""
        now, table = self._clock.now(), self._table
        stale = and_(table.c.sealed, table.c.reply.is_not(None), table.c.reply_until <= now)
        secrets = await _affected(session, update(table).where(stale).values(reply=None))
        claims = await _affected(session, delete(table).where(table.c.kept_until <= now))
        return Swept(secrets, claims)

    def _is(self, key: ClaimKey) -> ColumnElement[bool]:
        return and_(*(self._table.c[name] == value for name, value in _columns(key).items()))

    def _require_envelope(self) -> Envelope:
        if self._envelope is None:
            raise Internal("a secret reply needs an envelope, and this service was given none")
        return self._envelope


def _columns(key: ClaimKey) -> dict[str, str]:
    return {"tenant": key.tenant, "scope": key.scope, "method": key.method, "request_id": key.request_id}


def _place(key: ClaimKey) -> SecretPlace:
    return SecretPlace(key.tenant, TABLE, "reply", f"{key.scope} {key.method} {key.request_id}")


async def _affected(session: AsyncSession, statement: Update | Delete) -> int:
    result = await session.execute(statement)
    return result.rowcount if isinstance(result, CursorResult) else 0
