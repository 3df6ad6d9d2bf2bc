"""Any sequence of keys made, used, ended, suspended with their user and waited for, held against the contract."""

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.kit.database import Database, DatabaseOptions
from services.kit.errors import FailedPrecondition, NotFound
from services.kit.key_text import digest_of
from services.kit.paging import PageRequest
from services.user.domain.accounts import Role, User
from services.user.domain.api_keys import KeyChange, NewKey, Scope
from services.user.usecases.promotion import make_admin
from tests.unit.user.world import MOST_KEYS, World, new_world

T = TypeVar("T")


@dataclass
class Key:
    """What the contract promises of a key."""

    id: str
    secret: str
    expires: datetime | None
    name: str
    ended: bool = False


class KeysMachine(RuleBasedStateMachine):
    """One user with any number of keys, and an admin."""

    keys: Bundle[Key] = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "user.db"
        self.database = Database(f"sqlite+aiosqlite:///{path}", DatabaseOptions(synchronous="NORMAL"))
        self.world: World = self.do(new_world(self.database))
        self.all: list[Key] = []
        self.suspended = False
        self.user: User
        self.admin: User

    def do(self, work: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.world.close()
        self.do(self.database.close())
        self.loop.close()
        self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        self.user = self.do(self.world.register())
        admin = self.do(self.world.register())
        self.admin, _ = self.do(make_admin(self.world.outside, admin.email))

    def living(self) -> list[Key]:
        return [key for key in self.all if not key.ended]

    @rule(target=keys, hours=st.one_of(st.none(), st.integers(1, 5)))
    def make(self, hours: int | None) -> Key:
        expires = None if hours is None else self.world.clock.now() + timedelta(hours=hours)
        wanted = NewKey("k", frozenset({Scope.CHAT}), expire_time=expires)
        call = self.world.call(self.user)
        if len(self.living()) >= MOST_KEYS:
            with pytest.raises(FailedPrecondition):
                self.do(self.world.keys.create(call, wanted))
            return self.living()[0]
        grant = self.do(self.world.keys.create(call, wanted))
        key = Key(grant.key.id, grant.secret, expires, "k")
        self.all.append(key)
        self.world.clock.advance(1)
        return key

    @rule(key=keys)
    def end(self, key: Key) -> None:
        call = self.world.call(self.user)
        if key.ended:
            with pytest.raises(NotFound):
                self.do(self.world.keys.end(call, key.id))
        else:
            self.do(self.world.keys.end(call, key.id))
        key.ended = True

    @rule(key=keys, name=st.sampled_from(["a", "b"]))
    def rename(self, key: Key, name: str) -> None:
        change = KeyChange(name, None, None, ("display_name",))
        call = self.world.call(self.user)
        if key.ended:
            with pytest.raises(NotFound):
                self.do(self.world.keys.update(call, key.id, change))
        else:
            self.do(self.world.keys.update(call, key.id, change))
            key.name = name

    @rule()
    def suspend(self) -> None:
        self.do(self.world.administration.suspend(self.world.call(self.admin), self.user.id, "why"))
        self.suspended = True
        for key in self.all:
            key.ended = True

    @rule()
    def reinstate(self) -> None:
        self.do(self.world.administration.reinstate(self.world.call(self.admin), self.user.id, "why"))
        self.suspended = False

    @rule(role=st.sampled_from(Role))
    def another_role(self, role: Role) -> None:
        self.user = self.do(self.world.administration.set_role(self.world.call(self.admin), self.user.id, role))

    @rule(hours=st.integers(1, 3))
    def wait(self, hours: int) -> None:
        self.world.clock.advance(timedelta(hours=hours))

    @rule()
    def sweep(self) -> None:
        self.do(self.world.upkeep.sweep())

    @invariant()
    def every_key_stands_for_what_the_contract_says(self) -> None:
        now = self.world.clock.now()
        for key in self.all:
            standing = self.do(self.world.checks.look_up(digest_of(key.secret)))
            if key.ended or self.suspended:
                assert standing is None
                continue
            assert standing is not None
            assert (standing.key.id, standing.role) == (key.id, self.user.role.value)
            assert standing.key.expired(now) == (key.expires is not None and now >= key.expires)

    @invariant()
    def the_list_holds_the_living_ones(self) -> None:
        if not self.all:
            return
        page = self.do(self.world.keys.list(self.world.call(self.user), PageRequest(1000)))
        assert [(key.id, key.display_name) for key in page.items] == [
            (key.id, key.name) for key in reversed(self.living())
        ]

    @invariant()
    def every_end_was_published(self) -> None:
        assert {key.id for key in self.all if key.ended} <= self.world.revoker.ids


def test_any_life_of_keys() -> None:
    run_state_machine_as_test(KeysMachine, settings=settings(max_examples=12, stateful_step_count=20, deadline=None))
