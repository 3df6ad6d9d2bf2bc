"""Where a user's rows are, as each shard knows it; sharding.py has the table of states."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from sqlalchemy import BigInteger, Column, ColumnElement, MetaData, String, Table, and_, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.clock import Clock
from services.kit.database import for_share, for_update
from services.kit.shard_map import User
from services.kit.statements import insert_if_absent
from services.kit.types import Id, UtcDateTime

TABLE = "shard_homes"


class State(Enum):
    """What a shard says of a user."""

    HERE = "HERE"
    MOVING = "MOVING"
    GONE = "GONE"
    ARRIVING = "ARRIVING"


@dataclass(frozen=True, slots=True)
class Home:
    """One shard's row of one user. `epoch` is the fencing token of the last move that touched it."""

    state: State
    epoch: int = 0
    peer: str = ""
    until: datetime | None = None


class Elsewhere(Exception):
    """The rows are in another shard; None: where the user's slot is, for all this shard knows."""

    def __init__(self, shard: str | None = None, epoch: int | None = None) -> None:
        super().__init__(shard)
        self.shard = shard
        self.epoch = epoch


class Unsettled(Exception):
    """The rows are here and the row says otherwise still: `Homes.settle` it, in a transaction of its own."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.home = home


class Moving(Exception):
    """The rows are on their way: come back soon."""


def homes_table(metadata: MetaData) -> Table:
    """Add the table to a service's metadata. Its migration is `migrations_tables.create_shard_homes`."""
    return Table(
        TABLE,
        metadata,
        Column("tenant", Id, primary_key=True),
        Column("user_id", Id, primary_key=True),
        Column("state", String(16), nullable=False),
        Column("epoch", BigInteger, nullable=False),
        Column("peer", Id, nullable=False),
        Column("until", UtcDateTime, nullable=True),
    )


class Homes:
    """Reads and writes the rows, inside transactions of the shard that they are about."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    async def confirm(
        self, session: AsyncSession, user: User, *, default: bool, epoch: int | None, write: bool
    ) -> None:
        """Return when the user's rows are in this shard and stay here until the transaction ends.

        `epoch` is the move that a sign to this shard was about. Elsewhere, Moving or Unsettled otherwise.
        """
        home = await (self._shared(session, user, default=default) if write else self.get(session, user))
        if home is None:
            if not default:
                raise Elsewhere
            return
        match home.state:
            case State.GONE:
                raise Elsewhere(home.peer, home.epoch)
            case State.ARRIVING if home.epoch != epoch:
                raise Elsewhere(home.peer)
            case State.MOVING if write and home.until is not None and self._clock.now() < home.until:
                raise Moving
            case State.MOVING | State.ARRIVING if write:
                raise Unsettled(home)

    async def _shared(self, session: AsyncSession, user: User, *, default: bool) -> Home | None:
        """Return the row with a lock that a move must wait for, making it where there is none and ought to be."""
        home = await self._select(session, user, lock="share")
        if home is None and default:
            await self.put(session, user, Home(State.HERE))
            home = await self._select(session, user, lock="share")
        return home

    async def settle(self, session: AsyncSession, user: User, seen: Home) -> None:
        """Take the rows back from a move whose time is over, or take in those that have arrived."""
        if await self.lock(session, user) == seen:
            await self.set(session, user, Home(State.HERE, seen.epoch))

    async def get(self, session: AsyncSession, user: User) -> Home | None:
        """Return what this shard says of a user, None when it says nothing."""
        return await self._select(session, user, lock="")

    async def lock(self, session: AsyncSession, user: User) -> Home | None:
        """Return it and keep every writer out until the transaction ends."""
        return await self._select(session, user, lock="update")

    async def _select(self, session: AsyncSession, user: User, *, lock: str) -> Home | None:
        columns = self._table.c
        wanted = select(columns.state, columns.epoch, columns.peer, columns.until).where(self._is(user))
        if lock:
            wanted = for_update(wanted) if lock == "update" else for_share(wanted)
        row = (await session.execute(wanted)).one_or_none()
        return None if row is None else Home(State(row.state), row.epoch, row.peer, row.until)

    async def put(self, session: AsyncSession, user: User, home: Home) -> None:
        """Make the row unless it is there."""
        await insert_if_absent(session, self._table, {**_key(user), **_row(home)})

    async def set(self, session: AsyncSession, user: User, home: Home) -> None:
        """Change the row, which was locked."""
        await session.execute(update(self._table).where(self._is(user)).values(**_row(home)))

    async def forget(self, session: AsyncSession, user: User) -> None:
        """Remove the row."""
        await session.execute(delete(self._table).where(self._is(user)))

    def deadline(self, lease: timedelta) -> datetime:
        """Return when a move that has `lease` to do its next step is given up."""
        return self._clock.now() + lease

    def _is(self, user: User) -> ColumnElement[bool]:
        return and_(self._table.c.tenant == user.tenant, self._table.c.user_id == user.id)


def _key(user: User) -> dict[str, object]:
    return {"tenant": user.tenant, "user_id": user.id}


def _row(home: Home) -> dict[str, object]:
    return {"state": home.state.value, "epoch": home.epoch, "peer": home.peer, "until": home.until}
