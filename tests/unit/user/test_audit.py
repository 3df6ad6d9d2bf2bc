"""The audit log: whatever is done to a chain from outside is found, and what it says of whom."""

import asyncio
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, literal_column, text, update

from services.user.domain.audit import Action, Break, Circumstances, Entry, Event, Head, Outcome, Walk, linked, seal_of
from services.user.storage.tables import AUDIT_ENTRIES
from tests.unit.user.world import World

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ids = st.text("abc123", max_size=4)
events = st.builds(
    Event,
    tenant=st.just("t"),
    time=st.timedeltas(timedelta(0), timedelta(days=900)).map(lambda step: T0 + step),
    action=st.sampled_from(Action),
    outcome=st.sampled_from(Outcome),
    actor=ids,
    target=ids,
    session=ids,
    details=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    resource=ids,
)
circumstances = st.builds(Circumstances, method=ids, peer=ids, trace_id=ids)


def _chain(found: list[tuple[Event, Circumstances]], tenant: str = "t") -> tuple[list[Entry], Head]:
    """Return the chain that the events make."""
    entries: list[Entry] = []
    head = Head(tenant)
    for event, made_by in found:
        entries.append(linked(head, event, made_by))
        head = Head(tenant, entries[-1].seq, entries[-1].seal)
    return entries, head


chains = st.lists(st.tuples(events, circumstances), min_size=1, max_size=8).map(_chain)


def verify(entries: list[Entry], head: Head | None, tenant: str = "t") -> Break | None:
    walk = Walk(tenant)
    for entry in entries:
        if (broken := walk.step(entry)) is not None:
            return broken
    return walk.finish(head)


CHANGES: dict[str, Callable[[Entry], Any]] = {
    "time": lambda entry: entry.time + timedelta(microseconds=1),
    "action": lambda entry: entry.action + "x",
    "outcome": lambda entry: "allowed" if entry.outcome == "denied" else "denied",
    "actor": lambda entry: entry.actor + "x",
    "target": lambda entry: entry.target + "x",
    "session": lambda entry: entry.session + "x",
    "details": lambda entry: entry.details + " ",
    "previous": lambda entry: bytes(31) + b"\x01" + entry.previous[:0],
    "seal": lambda entry: entry.seal[:-1] + bytes([entry.seal[-1] ^ 1]),
    "seq": lambda entry: entry.seq + 1,
    "tenant": lambda entry: entry.tenant + "x",
    "method": lambda entry: entry.method + "x",
    "resource": lambda entry: entry.resource + "x",
    "peer": lambda entry: entry.peer + "x",
    "trace_id": lambda entry: entry.trace_id + "x",
    "format": lambda entry: entry.format - 1,
}


@given(chains)
def test_an_untouched_chain_holds(made: tuple[list[Entry], Head]) -> None:
    assert verify(*made) is None


def test_every_part_of_an_entry_is_changed_below() -> None:
    assert set(CHANGES) == {part.name for part in fields(Entry)}


@pytest.mark.parametrize("name", CHANGES)
@given(made=chains, data=st.data())
@settings(max_examples=20)
def test_changing_anything_of_any_entry_is_found(
    name: str, made: tuple[list[Entry], Head], data: st.DataObject
) -> None:
    entries, head = made
    at = data.draw(st.integers(0, len(entries) - 1))
    changed: dict[str, Any] = {name: CHANGES[name](entries[at])}
    entries[at] = replace(entries[at], **changed)
    broken = verify(entries, head)
    assert broken is not None
    assert broken.seq == at + 1  # the first broken link is the one that was touched


def test_entries_of_before_the_circumstances_were_kept_hold_as_they_are() -> None:
    old = Entry("t", 1, T0, "user.updated", "allowed", "a", "a", "s", "{}", bytes(32), b"", format=1)
    # Sealed by the version of then, over the parts of then.
    sealed = replace(old, seal=bytes.fromhex("65f286f491e80f7e07223cd72fe2d82de84ac3c409470e731d130d673d1ebe70"))
    assert verify([sealed], Head("t", 1, sealed.seal)) is None
    assert verify([replace(sealed, resource="x")], Head("t", 1, sealed.seal)) is not None


@given(chains, st.data())
def test_changing_and_sealing_again_is_found_at_the_next_entry(
    made: tuple[list[Entry], Head], data: st.DataObject
) -> None:
    entries, head = made
    at = data.draw(st.integers(0, len(entries) - 1))
    forged = replace(entries[at], actor=entries[at].actor + "x")
    entries[at] = replace(forged, seal=seal_of(forged))
    broken = verify(entries, head)
    assert broken is not None
    assert broken.seq in (at + 1, at + 2)


@given(chains, st.data())
def test_deleting_any_entries_is_found(made: tuple[list[Entry], Head], data: st.DataObject) -> None:
    entries, head = made
    gone = data.draw(st.sets(st.integers(1, len(entries)), min_size=1))
    broken = verify([entry for entry in entries if entry.seq not in gone], head)
    assert broken is not None
    assert broken.seq == min(gone)


@given(chains, st.data())
def test_any_other_order_is_found(made: tuple[list[Entry], Head], data: st.DataObject) -> None:
    entries, head = made
    shuffled = data.draw(st.permutations(entries))
    renumbered = [replace(entry, seq=number) for number, entry in enumerate(shuffled, 1)]
    if shuffled != entries:
        assert verify(shuffled, head) is not None
        assert verify(renumbered, head) is not None


@given(chains, events)
def test_an_entry_that_nobody_appended_is_found(made: tuple[list[Entry], Head], event: Event) -> None:
    entries, head = made
    assert verify([*entries, linked(head, event)], head) is not None
    assert verify(entries, None) is not None
    assert verify([], head) is not None


def test_parts_do_not_run_into_each_other() -> None:
    one = linked(Head("t"), Event("t", T0, Action.USER_ERASED, Outcome.ALLOWED, actor="ab", target="c"))
    two = linked(Head("t"), Event("t", T0, Action.USER_ERASED, Outcome.ALLOWED, actor="a", target="bc"))
    assert one.seal != two.seal


TAMPERING = {
    "a value": "UPDATE audit_entries SET action = 'user.updated' WHERE seq = 3",
    "a seal": "UPDATE audit_entries SET seal = previous WHERE seq = 3",
    "a row in the middle": "DELETE FROM audit_entries WHERE seq = 3",
    "the last rows": "DELETE FROM audit_entries WHERE seq >= 3",
    "the order": "UPDATE audit_entries SET seq = CASE seq WHEN 3 THEN 90 ELSE 3 END WHERE seq IN (3, 4)",
    "the head": "UPDATE audit_heads SET seq = 2",
    "the head's row": "DELETE FROM audit_heads",
}


@pytest.mark.parametrize("what", TAMPERING)
async def test_tampering_with_the_database_is_found(world: World, what: str) -> None:
    for _ in range(5):
        await world.register()
    [report] = await world.verify()
    assert (report.entries, report.broken) == (5, None)
    async with world.database.write_session() as session:
        await session.execute(text(TAMPERING[what]))
        await session.commit()
    [report] = await world.verify()
    assert report.broken is not None
    assert report.broken.seq == {"the head": 2, "the head's row": 6}.get(what, 3)


async def test_a_value_that_cannot_be_read_is_found(small_world: World) -> None:
    for _ in range(3):
        await small_world.register()
    for column in (AUDIT_ENTRIES.c.time, AUDIT_ENTRIES.c.seal):
        async with small_world.database.write_session() as session:
            nonsense: ColumnElement[Any] = literal_column("'nonsense'")
            await session.execute(update(AUDIT_ENTRIES).where(AUDIT_ENTRIES.c.seq == 2).values({column: nonsense}))
            await session.commit()
        [report] = await small_world.verify()
        assert report.broken is not None


async def test_an_empty_log_holds(world: World) -> None:
    assert await world.verify() == []


async def test_thirty_appenders_at_once_make_one_chain_per_tenant(world: World) -> None:
    async def append(number: int) -> None:
        async with world.units.write() as tx:
            tenant = f"t{number % 3}"
            await tx.audit.append(Event(tenant, world.clock.now(), Action.USER_UPDATED, Outcome.ALLOWED, str(number)))

    await asyncio.gather(*(append(number) for number in range(30)))
    reports = await world.verify()
    assert [(report.tenant, report.entries, report.broken) for report in reports] == [
        (f"t{number}", 10, None) for number in range(3)
    ]


async def test_what_rolls_back_leaves_no_entry(world: World) -> None:
    await world.register()

    async def append_and_fail() -> None:
        async with world.units.write() as tx:
            await tx.audit.append(Event("default", world.clock.now(), Action.USER_UPDATED, Outcome.ALLOWED))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await append_and_fail()
    [report] = await world.verify()
    assert (report.entries, report.broken) == (1, None)


async def test_a_chain_longer_than_a_page_is_walked_to_its_end(small_world: World) -> None:
    async with small_world.units.write() as tx:
        for _ in range(1001):
            await tx.audit.append(Event("default", small_world.clock.now(), Action.USER_UPDATED, Outcome.ALLOWED))
    [report] = await small_world.verify()
    assert (report.entries, report.broken) == (1001, None)


async def test_entries_name_people_by_their_subject_only(world: World) -> None:
    user, _ = await world.signed_in()
    entries = await world.audit()
    assert [(entry.action, entry.outcome) for entry in entries] == [
        ("user.registered", "allowed"),
        ("login.succeeded", "allowed"),
    ]
    assert len({entry.target for entry in entries}) == 1
    assert not any(word in repr(entry) for entry in entries for word in (user.id, user.email))
