"""Moving one user from one shard to another while the service runs.

Steps, each a transaction, each harmless to repeat: the old shard says MOVING (writers wait, and those under way have
ended), the new one ARRIVING; rows are copied table by table in the order of their references; the old shard says GONE,
which is the one moment at which everybody goes to the new place; the new one says HERE; the old rows are deleted.

Whoever moves brings a fencing token (locks.py), which becomes the epoch of both rows: a mover that was paused and
overtaken finds another epoch and stops. After a crash the same command finishes what was begun. If nobody repeats it,
writers take the user back a minute later when the rows had not gone yet; after GONE only the cleaning is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import ColumnElement, Table, and_, delete, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.kit.database import Database
from services.kit.errors import Aborted, Internal, InvalidArgument
from services.kit.shard_homes import Home, Homes, State
from services.kit.shard_map import ShardMap, User

LEASE = timedelta(minutes=1)
_HOPS = 8


@dataclass(frozen=True, slots=True)
class UserTable:
    """A table with rows of users, and which are one user's."""

    table: Table
    owned: Callable[[User], ColumnElement[bool]]
    batch: int = 200


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did: where from, how many rows were copied. Nothing when the user was there already."""

    source: str
    copied: int


class Overtaken(Aborted):
    """Another move of this user began since, or its writers took the user back."""


class Mover:
    """Moves users between the shards of one service."""

    def __init__(
        self, shards: Mapping[str, Database], slots: ShardMap, homes: Homes, tables: Sequence[UserTable]
    ) -> None:
        """`tables` stand in the order of their references: those that others refer to come first."""
        self._shards = shards
        self._map = slots
        self._homes = homes
        self._tables = tables

    async def move(self, user: User, target: str, token: int) -> Moved:
        """Move a user's rows; Overtaken when `token` is not the newest any more, InvalidArgument for no such shard."""
        if target not in self._shards:
            raise InvalidArgument(f"there is no shard {target!r}")
        source, arrived = await self._locate(user)
        copied = 0
        if source != target:
            await self._leave(user, source, target, token, arrived)
            await self._arrive(user, source, target, token)
            copied = await self._copy(user, source, target, token)
            await self._switch(user, source, target, token)
        await self._settle(user, target, token)
        await self._clean(user, target, token)
        return Moved(source, copied)

    async def _locate(self, user: User) -> tuple[str, Home | None]:
        """Return the shard where the rows are, whatever a move that broke off left behind.

        Beside it what that shard says when the rows have arrived there and it does not say HERE yet.
        """
        name, epoch = self._map.default_of(user), None
        for _ in range(_HOPS):
            async with self._shards[name].read_session() as session:
                home = await self._homes.get(session, user)
            if home is None or home.state in (State.HERE, State.MOVING):
                return name, None
            if home.state is State.ARRIVING and home.epoch == epoch:
                return name, home
            name, epoch = home.peer, home.epoch if home.state is State.GONE else None
        raise Internal("the shards point at one another")

    async def _leave(self, user: User, source: str, target: str, token: int, arrived: Home | None) -> None:
        async with self._shards[source].write_session() as session:
            await self._homes.put(session, user, Home(State.HERE))
            home = await self._homes.lock(session, user)
            is_here = home is not None and (home.state in (State.HERE, State.MOVING) or home == arrived)
            if home is None or not is_here or home.epoch > token:
                raise Overtaken("another move of this user began since")
            moving = Home(State.MOVING, token, target, self._homes.deadline(LEASE))
            await self._homes.set(session, user, moving)
            await session.commit()

    async def _arrive(self, user: User, source: str, target: str, token: int) -> None:
        """Announce the rows and remove what an earlier move left here."""
        arriving = Home(State.ARRIVING, token, source)
        async with self._shards[target].write_session() as session:
            await self._homes.put(session, user, arriving)
            home = await self._homes.lock(session, user)
            if home is None or home.state in (State.HERE, State.MOVING) or home.epoch > token:
                raise Overtaken("another move of this user began since")
            await self._homes.set(session, user, arriving)
            await self._delete_rows(session, user)
            await session.commit()

    async def _copy(self, user: User, source: str, target: str, token: int) -> int:
        copied = 0
        for each in self._tables:
            key = list(each.table.primary_key.columns)
            after: tuple[object, ...] | None = None
            while True:
                async with self._shards[source].read_session() as session:
                    statement = select(each.table).where(each.owned(user), *_beyond(key, after))
                    page = (await session.execute(statement.order_by(*key).limit(each.batch))).mappings().all()
                if not page:
                    break
                async with self._shards[target].write_session() as session:
                    await self._expect(session, user, State.ARRIVING, token)
                    await session.execute(insert(each.table), [dict(row) for row in page])
                    await session.commit()
                copied += len(page)
                after = tuple(page[-1][column.name] for column in key)
                await self._renew(user, source, token)
        return copied

    async def _renew(self, user: User, source: str, token: int) -> None:
        async with self._shards[source].write_session() as session:
            home = await self._expect(session, user, State.MOVING, token)
            await self._homes.set(session, user, replace(home, until=self._homes.deadline(LEASE)))
            await session.commit()

    async def _switch(self, user: User, source: str, target: str, token: int) -> None:
        async with self._shards[source].write_session() as session:
            await self._expect(session, user, State.MOVING, token)
            await self._homes.set(session, user, Home(State.GONE, token, target))
            await session.commit()

    async def _settle(self, user: User, target: str, token: int) -> None:
        async with self._shards[target].write_session() as session:
            home = await self._homes.lock(session, user)
            if home is not None and home.epoch > token:
                raise Overtaken("another move of this user began since")
            if home is not None:
                await self._homes.set(session, user, Home(State.HERE, token))
            await session.commit()

    async def _clean(self, user: User, target: str, token: int) -> None:
        """Delete the rows everywhere else, and leave one sign: in the shard where everybody begins to look."""
        default = self._map.default_of(user)
        for name in sorted(self._shards, key=lambda name: name != default):  # the sign first, then those on the way
            if name == target:
                continue
            async with self._shards[name].write_session() as session:
                home = await self._homes.lock(session, user)
                if home is not None and home.epoch > token:
                    raise Overtaken("another move of this user began since")
                await self._delete_rows(session, user)
                if name != default:
                    await self._homes.forget(session, user)
                elif home is not None:
                    await self._homes.set(session, user, Home(State.GONE, token, target))
                await session.commit()

    async def _expect(self, session: AsyncSession, user: User, state: State, token: int) -> Home:
        home = await self._homes.lock(session, user)
        if home is None or home.state is not state or home.epoch != token:
            raise Overtaken("another move of this user began since, or its writers took the user back")
        return home

    async def _delete_rows(self, session: AsyncSession, user: User) -> None:
        for each in reversed(self._tables):
            await session.execute(delete(each.table).where(each.owned(user)))


def _beyond(key: Sequence[ColumnElement[object]], after: tuple[object, ...] | None) -> list[ColumnElement[bool]]:
    """Return the condition of the rows whose key comes after one; none for the first page."""
    if after is None:
        return []
    steps = (and_(*(key[i] == after[i] for i in range(place)), key[place] > after[place]) for place in range(len(key)))
    return [or_(*steps)]
