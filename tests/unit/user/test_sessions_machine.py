"""Any sequence of log-ins, refreshes, replays, races, ends and waiting, held against the contract's words."""

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.kit.database import Database, DatabaseOptions
from services.kit.errors import CandelaError, NotFound
from services.user.domain.accounts import User
from services.user.usecases.sessions import Grant
from tests.unit.user.world import World, new_world

GRACE = timedelta(seconds=10)
LIFE = timedelta(days=30)
LONGEST = timedelta(days=365)
T = TypeVar("T")


@dataclass
class Token:
    """What the contract promises of a refresh token."""

    session: "Login"
    expires: datetime
    used: datetime | None = None
    forgotten: bool = False


@dataclass
class Login:
    """What the contract promises of a session."""

    id: str
    begun: datetime
    expires: datetime
    ended: bool = False
    tokens: dict[str, Token] = field(default_factory=dict)

    def add(self, text: str, now: datetime) -> None:
        self.expires = min(now + LIFE, self.begun + LONGEST)
        self.tokens[text] = Token(self, self.expires)


class SessionsMachine(RuleBasedStateMachine):
    """One user with any number of sessions; a bundle of every refresh token that was ever given."""

    tokens: Bundle[tuple[Login, str]] = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "user.db"
        self.database = Database(f"sqlite+aiosqlite:///{path}", DatabaseOptions(synchronous="NORMAL"))
        self.logins: dict[str, Login] = {}
        self.world: World = self.do(new_world(self.database))
        self.user: User

    def do(self, work: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.world.close()
        self.do(self.database.close())
        self.loop.close()
        self.folder.cleanup()

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    @initialize()
    def register(self) -> None:
        self.user = self.do(self.world.register("ada@example.com"))

    @rule(target=tokens)
    def log_in(self) -> tuple[Login, str]:
        grant = self.do(self.world.log_in("ada@example.com"))
        login = self.logins[grant.session.id] = Login(grant.session.id, self.now, self.now)
        login.add(grant.refresh_token, self.now)
        return login, grant.refresh_token

    @rule(target=tokens, given=tokens)
    def refresh(self, given: tuple[Login, str]) -> tuple[Login, str]:
        login, text = given
        expected = self.expected(login.tokens[text])
        if expected:
            with pytest.raises(CandelaError) as refused:
                self.do(self.world.sign_in.refresh(text))
            assert refused.value.reason == expected
            login.ended = login.ended or expected == "REFRESH_TOKEN_REUSED"
            return given
        grant = self.do(self.world.sign_in.refresh(text))
        self.granted(login, text, grant)
        return login, grant.refresh_token

    @rule(given=tokens, count=st.integers(2, 4))
    def race(self, given: tuple[Login, str], count: int) -> None:
        """Several tabs send the same token at the same time: all of them go on, or none does."""
        login, text = given
        expected = self.expected(login.tokens[text])

        async def together() -> list[Grant | BaseException]:
            sent = (self.world.sign_in.refresh(text) for _ in range(count))
            return await asyncio.gather(*sent, return_exceptions=True)

        for result in self.do(together()):
            if isinstance(result, Grant):
                assert expected == ""
                self.granted(login, text, result)
            else:
                assert isinstance(result, CandelaError)
                assert expected != ""
                login.ended = login.ended or expected == "REFRESH_TOKEN_REUSED"

    def expected(self, token: Token) -> str:
        """Return the reason that the contract gives for refusing a token now, empty when it is good."""
        if token.forgotten:
            return "TOKEN_INVALID"
        if token.session.ended:
            return "SESSION_REVOKED"
        if self.now >= token.expires:
            return "TOKEN_EXPIRED"
        if token.used is None or self.now - token.used <= GRACE:
            return ""
        return "REFRESH_TOKEN_REUSED"

    def granted(self, login: Login, text: str, grant: Grant) -> None:
        assert grant.session.id == login.id
        if login.tokens[text].used is None:
            for token in login.tokens.values():  # its siblings retire with it
                token.used = token.used or self.now
        login.add(grant.refresh_token, self.now)
        assert grant.refresh_expire_time == login.expires

    @rule(given=tokens)
    def log_out(self, given: tuple[Login, str]) -> None:
        login, _ = given
        living = not login.ended and self.now < login.expires
        if living:
            self.do(self.world.sign_in.end(self.world.call(self.user), login.id))
            login.ended = True
        else:
            with pytest.raises(NotFound):
                self.do(self.world.sign_in.end(self.world.call(self.user), login.id))

    @rule(step=st.sampled_from([1, 9, 10, 11, 900, 86_400, 20 * 86_400, 30 * 86_400]))
    def wait(self, step: int) -> None:
        self.world.clock.advance(step)

    @rule()
    def sweep(self) -> None:
        """Sweeping takes nothing from anybody; tokens that expired more than a day ago only lose their reason."""
        self.do(self.world.upkeep.sweep())
        for login in self.logins.values():
            for token in login.tokens.values():
                token.forgotten = token.forgotten or token.expires <= self.now - timedelta(days=1)

    @invariant()
    def exactly_the_living_are_listed(self) -> None:
        if not hasattr(self, "user"):
            return
        living = {login.id for login in self.logins.values() if not login.ended and self.now < login.expires}
        assert {session.id for session in self.do(self.world.sessions(self.user, 1000))} == living

    @invariant()
    def exactly_the_ended_are_revoked(self) -> None:
        assert self.world.revoker.ids == {login.id for login in self.logins.values() if login.ended}

    @invariant()
    def the_audit_chain_holds(self) -> None:
        assert all(report.broken is None for report in self.do(self.world.verify()))


@pytest.mark.timeout(180)
def test_any_sequence_keeps_the_contract() -> None:
    run_state_machine_as_test(SessionsMachine, settings=settings(max_examples=30, stateful_step_count=25))
