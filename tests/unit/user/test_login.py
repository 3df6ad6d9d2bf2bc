"""Logging in: identifiers, the bound on wrong passwords, and what a stranger can learn."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.clock import ManualClock
from services.kit.errors import CandelaError, PermissionDenied, ResourceExhausted, Unauthenticated
from services.user.domain.accounts import Identifier, IdentifierKind, State, identifier
from services.user.domain.throttling import Throttle, ThrottleRules, fresh
from services.user.providers.passwords import BcryptHasher
from services.user.usecases.sessions import Grant
from tests.unit.user.world import CHEAPEST_COST, PASSWORD, World, new_world, seconds


@pytest.mark.parametrize(
    ("typed", "kind", "value"),
    [
        (" Ada@Example.COM ", "email", "ada@example.com"),
        ("+49 (151) 123-456.78", "phone", "+4915112345678"),
        ("Ada.L_1", "username", "ada.l_1"),
    ],
)
def test_an_identifier_is_read_as_people_type_it(typed: str, kind: str, value: str) -> None:
    assert identifier(typed) == Identifier(IdentifierKind(kind), value)


@pytest.mark.parametrize("typed", ["", " ", "a@", "@", "+", "+0123456789", "ab", "1ada", "ada l", "a\0@b.c", "ä@b.c"])
def test_some_texts_name_nobody(typed: str) -> None:
    assert identifier(typed) is None


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(typed: str) -> None:
    found = identifier(typed)
    assert found is None or found.value.isascii()


@pytest.mark.parametrize("name", ["Ada@example.com", "+4915112345678", "ADA"])
async def test_every_identifier_logs_in(world: World, name: str) -> None:
    user = await world.register("ada@example.com", phone="+4915112345678", username="ada")
    grant = await world.log_in(name, device="phone")
    assert grant.session.user == user.id
    assert grant.session.device == "phone"
    assert grant.access.expire_time - world.clock.now() == timedelta(minutes=15)
    assert grant.refresh_expire_time - world.clock.now() == timedelta(days=30)
    assert len(grant.refresh_token) >= 43  # 256 bits in base64
    assert grant.refresh_token not in repr(grant)
    assert grant.access.text not in repr(grant)


async def test_a_stranger_and_a_wrong_password_look_the_same(world: World) -> None:
    await world.register("ada@example.com")
    failures = [
        await _failure(world, name, "wrong") for name in ("ada@example.com", "eve@example.com", "\0", "x" * 254)
    ]
    assert {(type(failure), failure.reason, failure.message) for failure in failures} == {
        (Unauthenticated, "CREDENTIALS_INVALID", "the name or the password is wrong")
    }
    assert await world.actions() == ["user.registered", *["login.failed"] * 4]


async def test_a_stranger_costs_a_hash_too(small_world: World) -> None:
    asked: list[bytes | None] = []
    small_world.attempts._outside = replace(small_world.outside, hasher=_Watching(asked))
    await small_world.register("ada@example.com")
    for name in ("ada@example.com", "eve@example.com", "\0"):
        with pytest.raises(Unauthenticated):
            await small_world.log_in(name)
    assert [known is not None for known in asked] == [True, False, False]


class _Watching:
    """A hasher that never finds a password right."""

    def __init__(self, asked: list[bytes | None]) -> None:
        self._asked = asked

    def admit(self) -> None:
        """Everybody is."""

    async def hash(self, password: str) -> bytes:
        return b""

    async def verify(self, password: str, known: bytes | None) -> bool:
        self._asked.append(known)
        return False


async def test_a_password_beyond_72_bytes_is_just_wrong(small_world: World) -> None:
    long = "x" * 72
    await small_world.register("ada@example.com", password=long)
    assert (await _failure(small_world, "ada@example.com", long + "y")).reason == "CREDENTIALS_INVALID"
    await small_world.log_in("ada@example.com", long)


@pytest.mark.parametrize("name", ["ada@example.com", "nobody@example.com"])
async def test_five_failures_close_the_door_for_a_time_that_grows(world: World, name: str) -> None:
    await world.register("ada@example.com")
    for _ in range(5):
        assert (await _failure(world, name, "wrong")).reason == "CREDENTIALS_INVALID"
    for wait in (30, 60, 120, 240, 480, 900, 900):
        closed = await _failure(world, name, PASSWORD)  # also for the right password
        assert isinstance(closed, ResourceExhausted)
        assert (closed.reason, closed.retry_after) == ("LOGIN_THROTTLED", wait)
        world.clock.advance(wait - 1)
        assert (await _failure(world, name, PASSWORD)).retry_after == 1
        world.clock.advance(1)
        assert (await _failure(world, name, "wrong")).reason == "CREDENTIALS_INVALID"
    throttled = [action for action in await world.actions() if action == "login.throttled"]
    assert len(throttled) == 7  # once for each time that the door was closed, however often it was tried


async def test_one_account_has_one_count_for_all_its_names(world: World) -> None:
    await world.register("ada@example.com", phone="+4915112345678", username="ada")
    for name in ("ada@example.com", "+4915112345678", "ada", "ADA", "Ada@example.com"):
        await _failure(world, name, "wrong")
    for name in ("ada@example.com", "+4915112345678", "ada"):
        assert (await _failure(world, name, PASSWORD)).reason == "LOGIN_THROTTLED"


async def test_the_right_password_clears_the_count(world: World) -> None:
    await world.register("ada@example.com")
    for _ in range(3):
        for _ in range(4):
            await _failure(world, "ada@example.com", "wrong")
        await world.log_in("ada@example.com")


async def test_a_count_is_forgotten_after_a_day(small_world: World) -> None:
    await small_world.register("ada@example.com")
    for _ in range(5):
        await _failure(small_world, "ada@example.com", "wrong")
    small_world.clock.advance(timedelta(hours=25))
    for _ in range(5):
        assert (await _failure(small_world, "ada@example.com", "wrong")).reason == "CREDENTIALS_INVALID"


async def test_the_count_survives_the_process(world: World) -> None:
    await world.register("ada@example.com")
    for _ in range(5):
        await _failure(world, "ada@example.com", "wrong")
    other = await new_world(world.database)  # another process over the same database
    assert (await _failure(other, "ada@example.com", PASSWORD)).reason == "LOGIN_THROTTLED"
    other.close()


async def test_fifty_guesses_at_once_are_bounded_like_fifty_in_a_row(world: World) -> None:
    await world.register("ada@example.com")
    processes = [world, *[await new_world(world.database) for _ in range(4)]]  # no shared memory between them
    guesses = [processes[number % 5].log_in("ada@example.com", f"guess {number}") for number in range(50)]
    failures = await asyncio.gather(*guesses, return_exceptions=True)
    reasons = [failure.reason for failure in failures if isinstance(failure, CandelaError)]
    assert reasons.count("CREDENTIALS_INVALID") == 5
    assert reasons.count("LOGIN_THROTTLED") == 45
    for process in processes[1:]:
        process.close()


async def test_an_attempt_that_was_given_up_stays_counted(world: World) -> None:
    await world.register("ada@example.com")
    for _ in range(5):
        await world.attempts.begin("default", identifier("ada@example.com"), "ada@example.com")  # and kill -9
    assert (await _failure(world, "ada@example.com", PASSWORD)).reason == "LOGIN_THROTTLED"


async def test_twenty_right_passwords_at_once_all_log_in(world: World) -> None:
    await world.register("ada@example.com")
    grants = await asyncio.gather(*(world.log_in("ada@example.com") for _ in range(20)))
    assert len({grant.session.id for grant in grants}) == 20


async def test_waiting_for_a_turn_leaves_nothing_behind(small_world: World) -> None:
    await small_world.register("ada@example.com")
    tasks = [asyncio.create_task(small_world.log_in("ada@example.com")) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, Grant) for result in done] == [True, False, True, True]
    assert small_world.attempts.turns._turns == {}


async def test_being_busy_is_no_failure_of_the_caller(small_world: World) -> None:
    await small_world.register("ada@example.com")
    busy = BcryptHasher(CHEAPEST_COST, threads=1, most_waiting=2)
    small_world.sign_in._outside = small_world.accounts._outside = replace(small_world.outside, hasher=busy)
    hashing = [asyncio.create_task(busy.hash("x")) for _ in range(2)]
    await asyncio.sleep(0)
    for _ in range(6):
        assert (await _failure(small_world, "ada@example.com", PASSWORD)).reason == "OVERLOADED"
    with pytest.raises(ResourceExhausted):
        await small_world.register("eve@example.com")
    await asyncio.gather(*hashing)
    await small_world.log_in("ada@example.com")
    busy.close()


async def test_suspension_is_told_only_to_who_has_the_password(world: World) -> None:
    user = await world.register("ada@example.com")
    async with world.units.write() as tx:
        await tx.users.update(replace(user, state=State.SUSPENDED))
    assert (await _failure(world, "ada@example.com", "wrong")).reason == "CREDENTIALS_INVALID"
    told = await _failure(world, "ada@example.com", PASSWORD)
    assert isinstance(told, PermissionDenied)
    assert told.reason == "USER_SUSPENDED"
    assert await world.sessions(user) == []


async def test_a_password_that_changes_during_a_log_in_does_not_log_in(world: World) -> None:
    user = await world.register("ada@example.com")
    attempt = await world.attempts.begin("default", identifier("ada@example.com"), "ada@example.com")
    async with world.units.write() as tx:
        await tx.users.update(replace(user, password_hash=b"another"))
    with pytest.raises(Unauthenticated):
        await world.sign_in._open(attempt, user, "")
    assert await world.sessions(user) == []


@given(st.integers(1, 10_000), st.integers(1, 20))
def test_waits_grow_and_stay_bounded(failures: int, free: int) -> None:
    rules = ThrottleRules(free=free)
    assert rules.wait(failures) <= rules.wait(failures + 1) <= rules.longest
    assert (rules.wait(failures) == timedelta(0)) == (failures < free)


@given(st.lists(st.integers(0, 2000), max_size=40))
def test_never_more_guesses_than_the_rules_allow(pauses: list[int]) -> None:
    """However somebody spaces guesses, no 15 minutes have more than 5 and those after 30 s, 1, 2, 4 and 8 minutes."""
    clock, rules = ManualClock(), ThrottleRules()
    throttle: Throttle = fresh("t", "k", clock.now(), known=True)
    admitted: list[float] = []
    for pause in pauses:
        clock.advance(pause)
        if not throttle.remaining(clock.now()):
            throttle = throttle.counted(clock.now(), rules)
            admitted.append(clock.monotonic())
    for start in admitted:
        assert sum(start <= moment < start + 900 for moment in admitted) <= 10


async def test_sweeping_forgets_old_counts_and_bounds_unknown_ones(world: World) -> None:
    small = await new_world(world.database, throttles=ThrottleRules(unknown_kept=3))
    await small.register("ada@example.com")
    await _failure(small, "ada@example.com", "wrong")
    for number in range(6):
        small.clock.advance(seconds(1))
        await _failure(small, f"nobody{number}@example.com", "wrong")
    assert (await small.upkeep.sweep()).throttles == 3
    assert (await small.upkeep.sweep()).throttles == 0
    small.clock.advance(timedelta(hours=25))
    assert (await small.upkeep.sweep()).throttles == 4
    small.close()


async def _failure(world: World, name: str, password: str) -> CandelaError:
    try:
        await world.log_in(name, password)
    except CandelaError as error:
        return error
    raise AssertionError(f"{name} logged in")
