"""Users spread over several databases: where they are, and moving one while everybody works."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

import services.recognition.storage as recognition_storage
from services.kit.call import Call, Principal
from services.kit.clock import ManualClock
from services.kit.database import Database
from services.kit.errors import InvalidArgument, Unavailable
from services.kit.idempotency import Outcome, Replies
from services.kit.idempotency_sql import Claims
from services.kit.migrations import upgrade
from services.kit.paging import PageRequest
from services.kit.shard_homes import Homes
from services.kit.shard_map import SLOTS, ShardMap, User, slot_of
from services.kit.sharding import ShardedUnits
from services.kit.sharding_move import LEASE, Mover, Overtaken
from services.kit.uow_sql import SqlUnits
from services.recognition.storage import SqlRecognitionTx, request_claims, shard_homes, user_tables
from services.recognition.usecases.erasures import UserErasures
from tests.support.databases import KINDS, new_database
from tests.support.eventually import eventually
from tests.unit.recognition.pages import document, recognition

MIGRATIONS = Path(recognition_storage.__file__).parent / "migrations"
ADA, BOB = User("default", "ada"), User("default", "bob")
# Crashes at every step take long where databases are servers; one of each kind there is for every change.
EVERY_KIND = [KINDS[0], *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS[1:])]
STEPS = ("_leave", "_arrive", "_copy", "_switch", "_settle", "_clean")


class Crash(Exception):
    """The mover's process died."""


@dataclass
class Shards:
    """Two shards and a third without slots; several processes over them."""

    databases: dict[str, Database]
    slots: ShardMap
    clock: ManualClock = field(default_factory=ManualClock)
    replies: Replies = field(default_factory=Replies)

    def units(self, patience: float = 10.0) -> ShardedUnits[SqlRecognitionTx]:
        """Return the units of one process."""
        claims = Claims(request_claims, self.clock)
        shards = {name: SqlUnits(database, SqlRecognitionTx, claims) for name, database in self.databases.items()}
        return ShardedUnits(shards, self.slots, Homes(shard_homes, self.clock), self.clock, patience)

    def mover(self) -> Mover:
        """Return a mover of one process."""
        return Mover(self.databases, self.slots, Homes(shard_homes, self.clock), user_tables())

    async def rows(self, user: User) -> dict[str, int]:
        """Return how many rows of a user each shard has, all tables together."""
        found = {}
        for name, database in self.databases.items():
            async with database.read_session() as session:
                counts = [
                    (
                        await session.execute(select(func.count()).select_from(each.table).where(each.owned(user)))
                    ).scalar_one()
                    for each in user_tables()
                ]
            found[name] = sum(counts)
        return found


@pytest.fixture(params=KINDS)
async def shards(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shards]:
    async with AsyncExitStack() as stack:
        databases = {}
        for name in ("one", "two", "three"):
            url = await new_database(request.param, request, tmp_path)
            await upgrade(url, MIGRATIONS)
            databases[name] = Database(url)
            stack.push_async_callback(databases[name].close)
        middle = max(slot_of(ADA), slot_of(BOB))
        halves = {f"0-{middle - 1}": "one", f"{middle}-{SLOTS - 1}": "two"}
        if slot_of(ADA) > slot_of(BOB):  # ada's is the shard `one`
            halves = dict(zip(halves, reversed(halves.values()), strict=True))
        text = "".join(f"{name} {half} {databases[name].url.text}; " for half, name in halves.items())
        slots = ShardMap.parse(f"{text} three - {databases['three'].url.text}")
        yield Shards(databases, slots)


def call(user: User, request_id: str = "") -> Call:
    return Call("/test/Add", Principal(user.tenant, user.id), request_id, b"f" * 32)


async def add(units: ShardedUnits[SqlRecognitionTx], user: User, number: int) -> None:
    async with units.write(call(user)) as tx:
        await tx.history.add(user.tenant, user.id, recognition(number, minutes=number, found=document("short")))


async def add_once(shards: Shards, units: ShardedUnits[SqlRecognitionTx], number: int) -> Outcome[StringValue]:
    """Add under a request id, as a servicer does."""

    async def work(made: Call) -> str:
        async with units.write(made) as tx:
            await tx.history.add("default", "ada", recognition(number, minutes=number, found=document("short")))
            tx.reply(f"r{number}")
        return f"r{number}"

    return await shards.replies.attach(
        call(ADA, f"request-{number}"), StringValue, work, lambda text: StringValue(value=str(text))
    )


async def numbers(units: ShardedUnits[SqlRecognitionTx], user: User) -> list[int]:
    async with units.read(call(user), may_lag=True) as tx:
        page = await tx.history.page(user.tenant, user.id, PageRequest(1000))
    return sorted(int(one.id[1:]) for one in page.items)


@pytest.mark.parametrize("shards", EVERY_KIND, indirect=True)
async def test_users_are_where_their_slots_are(shards: Shards) -> None:
    units = shards.units()
    for user in (ADA, BOB):
        await add(units, user, 1)
        assert await numbers(shards.units(), user) == [1]
    assert await shards.rows(ADA) == {"one": 1, "two": 0, "three": 0}
    assert await shards.rows(BOB) == {"one": 0, "two": 1, "three": 0}


@pytest.mark.parametrize("path", [["two", "three", "two", "one"], ["three", "one"]])
async def test_a_user_moves_with_everything_and_is_found(shards: Shards, path: list[str]) -> None:
    here, there = shards.units(), shards.units()
    for number in range(120):  # more than one batch
        await add(here, ADA, number)
    first = await add_once(shards, here, 500)
    for token, target in enumerate(path, start=1):
        await shards.mover().move(ADA, target, token)
        assert await shards.rows(ADA) == {name: 122 if name == target else 0 for name in shards.databases}
        for units in (here, there, shards.units()):
            assert await numbers(units, ADA) == [*range(120), 500]
        await add(here, ADA, 1000 + token)
        async with there.write(call(ADA)) as tx:
            assert await tx.history.delete("default", "ada", f"r{1000 + token:05d}")
    again = await add_once(shards, there, 500)
    assert again.replayed
    assert again.message == first.message
    await add(there, BOB, 1)
    assert await shards.rows(BOB) == {"one": 0, "two": 1, "three": 0}


async def test_nothing_is_lost_or_doubled_while_writers_go_on(shards: Shards) -> None:
    processes = [shards.units(), shards.units()]
    stop = asyncio.Event()
    acknowledged: list[int] = []

    async def write(process: int) -> None:
        number = process
        while not stop.is_set():
            await add_once(shards, processes[process % 2], number)
            acknowledged.append(number)
            assert acknowledged[-1] in await numbers(processes[(process + 1) % 2], ADA)  # one's own, through the other
            number += 10

    async def move() -> None:
        for token, target in enumerate(("two", "three", "one", "two"), start=1):
            await shards.mover().move(ADA, target, token)
            enough = len(acknowledged) + 3
            await eventually(lambda: len(acknowledged) >= enough, timeout=20)  # noqa: B023 - waited for in this turn
        stop.set()

    await asyncio.gather(move(), *(write(process) for process in range(3)))
    assert len(acknowledged) == len(set(acknowledged)) >= 12
    assert await numbers(shards.units(), ADA) == sorted(acknowledged)
    assert await shards.rows(ADA) == {"one": 0, "two": 2 * len(acknowledged), "three": 0}


def dying(mover: Mover, step: str, *, after: bool) -> Mover:
    """Return a mover that dies before or after a step."""
    real: Callable[..., object] = getattr(mover, step)

    async def die(*arguments: object) -> object:
        if after:
            await real(*arguments)  # type: ignore[misc]  # each step is a coroutine function
        raise Crash(step)

    setattr(mover, step, die)
    return mover


@pytest.mark.parametrize("shards", EVERY_KIND, indirect=True)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
async def test_a_move_that_died_is_finished_by_the_next(shards: Shards, step: str, after: bool) -> None:
    units = shards.units(patience=0)
    for number in range(3):
        await add(units, ADA, number)
    await shards.mover().move(ADA, "three", 1)
    with pytest.raises(Crash):
        await dying(shards.mover(), step, after=after).move(ADA, "two", 2)
    assert await numbers(shards.units(), ADA) == [0, 1, 2]  # readers never notice
    assert (await shards.mover().move(ADA, "two", 3)).copied in (0, 3)
    assert await shards.rows(ADA) == {"one": 0, "two": 3, "three": 0}
    await add(units, ADA, 3)
    assert await numbers(shards.units(), ADA) == [0, 1, 2, 3]


@pytest.mark.parametrize("shards", EVERY_KIND, indirect=True)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
async def test_writers_go_on_after_a_move_that_nobody_finishes(shards: Shards, step: str, after: bool) -> None:
    units = shards.units(patience=0)
    await add(units, ADA, 0)
    with pytest.raises(Crash):
        await dying(shards.mover(), step, after=after).move(ADA, "two", 2)
    if step in ("_arrive", "_copy") or (step, after) in {("_leave", True), ("_switch", False)}:
        with pytest.raises(Unavailable, match="being moved"):
            await add(units, ADA, 1)
    shards.clock.advance(LEASE + timedelta(seconds=1))
    await add(units, ADA, 1)
    assert await numbers(shards.units(), ADA) == [0, 1]
    await shards.mover().move(ADA, "one", 3)
    assert await shards.rows(ADA) == {"one": 2, "two": 0, "three": 0}
    assert await numbers(shards.units(), ADA) == [0, 1]


@pytest.mark.parametrize("shards", EVERY_KIND, indirect=True)
@pytest.mark.parametrize("step", STEPS)
async def test_a_mover_that_was_paused_and_overtaken_stops(shards: Shards, step: str) -> None:
    await add(shards.units(), ADA, 0)
    paused = shards.mover()
    real: Callable[..., object] = getattr(paused, step)

    async def overtaken(*arguments: object) -> object:
        await shards.mover().move(ADA, "three", 3)
        return await real(*arguments)  # type: ignore[misc]

    setattr(paused, step, overtaken)
    with pytest.raises(Overtaken):
        await paused.move(ADA, "two", 2)
    assert await numbers(shards.units(), ADA) == [0]
    assert await shards.rows(ADA) == {"one": 0, "two": 0, "three": 1}


@pytest.mark.parametrize("shards", EVERY_KIND, indirect=True)
async def test_an_erasure_reaches_what_a_broken_move_left(shards: Shards) -> None:
    await add(shards.units(), ADA, 0)
    with pytest.raises(Crash):
        await dying(shards.mover(), "_copy", after=True).move(ADA, "two", 2)
    assert await UserErasures(shards.units()).erase("default", "ada") >= 2
    assert set((await shards.rows(ADA)).values()) == {0}


@pytest.mark.parametrize("shards", EVERY_KIND, indirect=True)
async def test_a_shard_that_is_not_there(shards: Shards) -> None:
    with pytest.raises(InvalidArgument):
        await shards.mover().move(ADA, "four", 1)


def test_a_slot_is_the_same_for_ever() -> None:
    assert [slot_of(User("default", user)) for user in ("ada", "bob", "漢字")] == [269, 970, 3924]


@given(st.sets(st.text(min_size=1, max_size=10), min_size=1, max_size=30))
def test_every_user_has_a_shard(users: set[str]) -> None:
    slots = ShardMap.parse("a 0-99,4000-4095 sqlite+aiosqlite:///a; b 100-3999 sqlite+aiosqlite:///b")
    for user in users:
        slot = slot_of(User("default", user))
        assert slots.default_of(User("default", user)) == ("b" if 100 <= slot <= 3999 else "a")


@pytest.mark.parametrize(
    "text",
    ["", "a 0-4095", "a 0-4094 u", "a 0-4096 u", "a 0-4095 u; b 7 u", "a 0-x u", "a - u; a 0-4095 u", "a 0-4095 u"],
)
def test_wrong_settings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shard|slot|database"):
        ShardMap.parse(text)
