"""What the user service needs from outside: its database, a password hasher, a token signer, a way to revoke."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.kit.call import Call
from services.kit.paging import Page, PageRequest
from services.kit.uow import Tx
from services.user.domain.accounts import Identifier, User, UserSearch
from services.user.domain.audit import Entry, Event, Head, Search
from services.user.domain.erasures import Erasure
from services.user.domain.sessions import EndReason, RefreshToken, Revocation, Session
from services.user.domain.throttling import Throttle
from services.user.ports.api_keys import ApiKeys
from services.user.ports.files import FileRows, Strays, UploadRows
from services.user.ports.notices import Announcements, SystemConfigs


class Users(Protocol):
    """Accounts of all tenants."""

    async def add(self, user: User) -> None:
        """Store a new account; AlreadyExists naming the field when its e-mail, phone or username is taken."""

    async def get(self, tenant: str, user: str, *, lock: bool = False) -> User | None:
        """Return an account, None when there is none; with `lock` nobody else changes it in this transaction."""

    async def identified(self, tenant: str, identifier: Identifier) -> User | None:
        """Return the account that logs in with `identifier`."""

    async def update(self, user: User) -> None:
        """Store an account that was read with `lock`; AlreadyExists like `add`."""

    async def delete(self, tenant: str, user: str) -> None:
        """Remove an account."""

    async def search(self, tenant: str, wanted: UserSearch, page: PageRequest) -> Page[User]:
        """Return a page of a tenant's accounts, the newest first.

        Looks at a bounded number of accounts: a page may hold fewer than asked for, with more behind it.
        """

    async def lock_admins(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's active admins; nobody else changes one of them in this transaction.

        Lock these before any other account: two calls that lock them in another order would wait for each other.
        """


class Subjects(Protocol):
    """Which opaque subject of the audit log is which user. Erasing a row makes a person's entries anonymous."""

    async def add(self, tenant: str, user: str, subject: str) -> None:
        """Remember a new user's subject."""

    async def of(self, tenant: str, user: str) -> str:
        """Return a user's subject, empty when there is none (any more)."""

    async def erase(self, tenant: str, user: str) -> None:
        """Forget a user's subject."""

    async def users_of(self, tenant: str, subjects: Collection[str]) -> dict[str, str]:
        """Return the users behind some subjects, those that are still known."""


class Sessions(Protocol):
    """Sessions and the digests of their refresh tokens."""

    async def add(self, session: Session) -> None:
        """Store a new session."""

    async def get(self, tenant: str, session: str, *, lock: bool = False) -> Session | None:
        """Return a session whether it lives or not, None when there is none."""

    async def update(self, session: Session) -> None:
        """Store a session that was read with `lock`."""

    async def living(self, tenant: str, user: str, now: datetime, page: PageRequest) -> Page[Session]:
        """Return a page of a user's living sessions, the newest first."""

    async def end_others(self, tenant: str, user: str, keep: str, reason: EndReason, now: datetime) -> list[str]:
        """Mark all living sessions of a user but `keep` (empty: all) as ended and return their ids."""

    async def add_token(self, token: RefreshToken) -> None:
        """Store the digest of a new refresh token."""

    async def token(self, digest: bytes) -> RefreshToken | None:
        """Return what is known of a refresh token; read afresh, so that it can be asked again under a lock."""

    async def retire(self, session: Session, generation: int, now: datetime) -> None:
        """Mark all unused tokens of one generation of a session as used at `now`."""

    async def delete_all(self, tenant: str, user: str) -> None:
        """Remove a user's sessions and their tokens."""

    async def count_active_users(self, since: datetime, now: datetime) -> int:
        """Return how many users have a living session that was refreshed after `since`."""

    async def sweep(self, tokens_before: datetime, sessions_before: datetime) -> int:
        """Remove tokens that expired before the first time and sessions over before the second; return how many."""


class Throttles(Protocol):
    """Counts of wrong passwords."""

    async def lock(self, tenant: str, key: str, now: datetime, *, known: bool) -> Throttle:
        """Return the count of `key`, a fresh one if there was none; nobody else has it until this transaction ends."""

    async def save(self, throttle: Throttle) -> None:
        """Store a count that was locked."""

    async def clear(self, tenant: str, key: str) -> None:
        """Forget a count."""

    async def sweep(self, before: datetime, unknown_kept: int) -> int:
        """Forget counts last touched before a time, and the oldest unknown ones beyond a number; return how many."""


class RevocationLog(Protocol):
    """Revocations as the database knows them: the truth that Redis is healed from."""

    async def add(self, revocations: Sequence[Revocation]) -> None:
        """Remember some; a repeat for the same session or user keeps the later time."""

    async def since(self, time: datetime) -> list[Revocation]:
        """Return every one of all tenants that is younger than `time`."""

    async def sweep(self, before: datetime) -> int:
        """Forget those older than a time; return how many."""


class ErasureLog(Protocol):
    """Who was erased, for the services that keep data of users. Never swept: a service may have been away for long."""

    async def add(self, erasure: Erasure) -> None:
        """Remember an erasure."""

    async def after(self, time: datetime | None, page: PageRequest) -> Page[Erasure]:
        """Return a page of the erasures of all tenants later than `time` (None: all), the newest first."""


class AuditTrail(Protocol):
    """The chained audit log."""

    async def append(self, event: Event) -> Entry:
        """Seal an event into its tenant's chain; other appenders of the tenant wait until this transaction ends."""

    def walk(self, tenant: str, after: int | None = None) -> AsyncIterator[Entry]:
        """Return a tenant's entries, or those behind a number, in order. DataLoss for a row that cannot be read."""

    async def search(self, tenant: str, wanted: Search, page: PageRequest) -> Page[Entry]:
        """Return a page of a tenant's entries, the newest first; the cursor's id is the entry's number.

        Looks at a bounded number of entries: a page may hold fewer than asked for, with more behind it.
        """

    async def first_since(self, tenant: str, time: datetime) -> Entry | None:
        """Return a tenant's first entry from a time on, None when there is none."""

    async def head(self, tenant: str) -> Head | None:
        """Return the end of a tenant's chain, None without entries."""

    async def tenants(self) -> list[str]:
        """Return every tenant with an entry or a head."""


class UserTx(Tx, Protocol):
    """One transaction of the user service."""

    @property
    def users(self) -> Users: ...
    @property
    def subjects(self) -> Subjects: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def throttles(self) -> Throttles: ...
    @property
    def revocations(self) -> RevocationLog: ...
    @property
    def erasures(self) -> ErasureLog: ...
    @property
    def audit(self) -> AuditTrail: ...
    @property
    def files(self) -> FileRows: ...
    @property
    def uploads(self) -> UploadRows: ...
    @property
    def strays(self) -> Strays: ...
    @property
    def announcements(self) -> Announcements: ...
    @property
    def system_configs(self) -> SystemConfigs: ...


class Hasher(Protocol):
    """Slow password hashes, made off the event loop, a bounded number at a time."""

    def admit(self) -> None:
        """Raise ResourceExhausted (OVERLOADED) when so many hashes wait that another would wait too long."""

    async def hash(self, password: str) -> bytes:
        """Return the salted hash of a password; InvalidArgument beyond 72 bytes."""

    async def verify(self, password: str, known: bytes | None) -> bool:
        """Say whether a password made a hash. Without one it takes the same time and says no."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token and when it ends."""

    text: str
    expire_time: datetime


class AccessTokens(Protocol):
    """Signs access tokens and publishes the keys that check them."""

    def issue(self, user: User, session: Session, expire_time: datetime) -> AccessToken:
        """Return a token for a session of a user that ends at `expire_time`, to the second below."""

    def public_keys(self) -> Sequence["PublicKey"]:
        """Return the keys that tokens are checked with, the newest first."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key: its id and its 32 bytes in base64url without padding."""

    kid: str
    x: str


class RefreshSecrets(Protocol):
    """Makes refresh tokens."""

    def new(self) -> str:
        """Return 256 fresh random bits as text."""


class Revoker(Protocol):
    """Tells every process that tokens ended."""

    async def publish(self, revocations: Sequence[Revocation]) -> bool:
        """Spread new revocations; False (and a log line) when that is not possible now."""

    async def heal(self, revocations: Sequence[Revocation]) -> bool:
        """Spread what may be spread already; False when that is not possible now. Cheap, and harmless to repeat."""


class Blinder(Protocol):
    """Keeps what is derived from a password from being guessed offline."""

    def blinded(self, call: Call) -> Call:
        """Return the call with its fingerprint keyed by a secret outside the database.

        A plain SHA-256 over a request with a password, kept for a day, would undo what bcrypt is for.
        """


class ActiveUsers(Protocol):
    """Shows how many users are active."""

    def show(self, count: int) -> None:
        """Set the gauge `active_users_total`."""
