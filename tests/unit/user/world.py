"""The user service's use cases put together for tests: real database and hashes, a clock that tests turn."""

import hashlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from candela.user.v1 import user_pb2
from services.kit.access import permissions_of
from services.kit.call import Call, Principal
from services.kit.clock import ManualClock
from services.kit.database import Database
from services.kit.idempotency import Replies
from services.kit.idempotency_sql import Claims
from services.kit.ids import RandomIds
from services.kit.paging import Page, PageRequest
from services.kit.secrets import Envelope
from services.kit.uow_sql import SqlUnits
from services.user.api.mapping import nothing, user_message
from services.user.domain.accounts import ProfileChange, Registration, User
from services.user.domain.audit import Entry
from services.user.domain.sessions import Revocation, Session, SessionRules
from services.user.domain.throttling import ThrottleRules
from services.user.ports import AccessToken, PublicKey
from services.user.providers.blinding import KeyedBlinder
from services.user.providers.passwords import BcryptHasher
from services.user.providers.tokens import RandomKeySecrets, RandomRefreshSecrets
from services.user.storage.tables import CLAIMS, metadata
from services.user.storage.transaction import SqlUserTx
from services.user.usecases.accounts import Accounts
from services.user.usecases.administration import Administration
from services.user.usecases.api_keys import OwnKeys
from services.user.usecases.attempts import Attempts
from services.user.usecases.audit_log import AuditLog
from services.user.usecases.auditing import ChainReport, verify_chains
from services.user.usecases.common import Outside
from services.user.usecases.key_checks import KeyChecks
from services.user.usecases.passwords import Passwords
from services.user.usecases.sessions import Grant, SignIn
from services.user.usecases.upkeep import Upkeep

PASSWORD = "correct horse battery staple"
CHEAPEST_COST = 4
SESSION_RULES, THROTTLE_RULES = SessionRules(), ThrottleRules()
MOST_KEYS = 5
_numbers = itertools.count(1)


class ReadableTokens:
    """Access tokens that say what they are."""

    def issue(self, user: User, session: Session, expire_time: datetime) -> AccessToken:
        return AccessToken(f"access:{user.tenant}:{user.id}:{session.id}:{user.role.value}", expire_time)

    def public_keys(self) -> Sequence[PublicKey]:
        return []


@dataclass
class RecordingRevoker:
    """Remembers what was published; as unable as a Redis that is down while `down`."""

    down: bool = False
    published: list[Revocation] = field(default_factory=list)
    healed: list[Revocation] = field(default_factory=list)

    async def publish(self, revocations: Sequence[Revocation]) -> bool:
        if not self.down:
            self.published += revocations
        return not self.down

    async def heal(self, revocations: Sequence[Revocation]) -> bool:
        if not self.down:
            self.healed += revocations
        return not self.down

    @property
    def ids(self) -> set[str]:
        return {revocation.id for revocation in self.published}


@dataclass
class Shown:
    """The gauge as tests read it."""

    count: int = -1

    def show(self, count: int) -> None:
        self.count = count


@dataclass
class World:
    """The use cases and everything under them."""

    database: Database
    clock: ManualClock
    units: SqlUnits[SqlUserTx]
    outside: Outside
    revoker: RecordingRevoker
    hasher: BcryptHasher
    gauge: Shown
    accounts: Accounts
    attempts: Attempts
    passwords: Passwords
    sign_in: SignIn
    upkeep: Upkeep
    keys: OwnKeys
    checks: KeyChecks
    administration: Administration
    log: AuditLog
    replies: Replies = field(default_factory=Replies)

    def close(self) -> None:
        self.hasher.close()

    async def register(self, email: str = "", *, phone: str = "", username: str = "", password: str = PASSWORD) -> User:
        """Register somebody, by default with an address of their own."""
        email = email or ("" if phone else f"user{next(_numbers)}@example.com")
        wanted = Registration(email=email, phone=phone, username=username, display_name="Ada", password=password)
        return await self.accounts.register(self.call(), wanted)

    async def log_in(self, identifier: str, password: str = PASSWORD, device: str = "") -> Grant:
        return await self.sign_in.log_in(identifier, password, device)

    async def signed_in(self) -> tuple[User, Grant]:
        """Register somebody and log in."""
        user = await self.register()
        return user, await self.log_in(user.email)

    def call(self, user: User | None = None, session: str = "", *, request_id: str = "", body: str = "") -> Call:
        """Return a call by `user` (nobody if None), as the pipeline would build it."""
        principal = None
        if user is not None:
            role = user.role.value
            principal = Principal(user.tenant, user.id, session, role=role, permissions=permissions_of(role))
        fingerprint = hashlib.sha256(body.encode()).digest() if request_id else b""
        return Call("/candela.user.v1.UserService/Test", principal, request_id, fingerprint)

    async def answer(self, call: Call, work: Callable[[Call], Awaitable[object]]) -> Message:
        """Do an idempotent call as a servicer would: the reply's bytes are kept."""

        def message(result: object) -> Message:
            return user_message(result) if isinstance(result, User) else nothing(result)

        kind = user_pb2.User if call.method.endswith("User") else Empty
        return await self.replies.run(call, kind, work, message)

    async def sessions(self, user: User, size: int = 50) -> list[Session]:
        page: Page[Session] = await self.sign_in.list(self.call(user), PageRequest(size))
        return list(page.items)

    async def audit(self, tenant: str = "default") -> list[Entry]:
        """Return a tenant's whole audit log."""
        async with self.units.read() as tx:
            return [entry async for entry in tx.audit.walk(tenant)]

    async def actions(self) -> list[str]:
        return [entry.action for entry in await self.audit()]

    async def verify(self) -> list[ChainReport]:
        return [report async for report in verify_chains(self.units)]


def change(*paths: str, etag: str = "", **values: str) -> ProfileChange:
    """Return a change of a profile: `change(email="a@b.c")`, or `change("email")` to clear it."""
    empty = {"email": "", "phone": "", "username": "", "display_name": ""}
    return ProfileChange(**(empty | values), paths=(*paths, *values), etag=etag)


async def new_world(
    database: Database, *, sessions: SessionRules = SESSION_RULES, throttles: ThrottleRules = THROTTLE_RULES
) -> World:
    """Make the tables in an empty database and the use cases over it."""
    async with database.write_session() as session:
        await (await session.connection()).run_sync(metadata.create_all)
        await session.commit()
    clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    units = SqlUnits(database, SqlUserTx, Claims(CLAIMS, clock, Envelope([b"e" * 32])))
    hasher, revoker, gauge = BcryptHasher(CHEAPEST_COST, threads=2), RecordingRevoker(), Shown()
    outside = Outside(
        units=units,
        clock=clock,
        ids=RandomIds(clock),
        hasher=hasher,
        access_tokens=ReadableTokens(),
        refresh_secrets=RandomRefreshSecrets(),
        revoker=revoker,
        blinder=KeyedBlinder(b"k" * 32),
        key_secrets=RandomKeySecrets(),
    )
    attempts = Attempts(outside, throttles)
    return World(
        database=database,
        clock=clock,
        units=units,
        outside=outside,
        revoker=revoker,
        hasher=hasher,
        gauge=gauge,
        accounts=Accounts(outside),
        attempts=attempts,
        passwords=Passwords(outside, attempts),
        sign_in=SignIn(outside, attempts, sessions),
        upkeep=Upkeep(outside, sessions, throttles, gauge),
        keys=OwnKeys(outside, MOST_KEYS),
        checks=KeyChecks(outside),
        administration=Administration(outside),
        log=AuditLog(outside),
    )


def seconds(number: float) -> timedelta:
    """Return so many seconds."""
    return timedelta(seconds=number)
