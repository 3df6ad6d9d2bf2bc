"""How the user service is put together."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from candela.erasure.v1.erasure_service_pb2_grpc import add_ErasureServiceServicer_to_server
from candela.user.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server
from candela.user.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server
from observability import names
from observability.metrics import gauge
from services.kit.background import repeating, taking_turns
from services.kit.bootstrap import Binding, Mesh, StartError
from services.kit.database import Database
from services.kit.idempotency_sql import Claims
from services.kit.ids import RandomIds
from services.kit.key_files import KeySetFile
from services.kit.keys import USER_KEY, USER_KEY_SET, SigningKey
from services.kit.locks import Locks
from services.kit.paging import PageTokens
from services.kit.replica import replica_of
from services.kit.secrets import Envelope, derived_key
from services.kit.uow_sql import SqlUnits
from services.user.api.erasures import ErasureApi
from services.user.api.sessions import SessionApi
from services.user.api.users import UserApi
from services.user.main.access import governing
from services.user.main.files import keeping_files
from services.user.main.notices import live_values, noticing
from services.user.providers.blinding import KeyedBlinder
from services.user.providers.gauges import ActiveUsersGauge, RedisMemoryGauge
from services.user.providers.passwords import BcryptHasher
from services.user.providers.revoking import RedisRevoker
from services.user.providers.tokens import RandomKeySecrets, RandomRefreshSecrets, SignedAccessTokens
from services.user.settings import UserSettings
from services.user.storage.tables import CLAIMS
from services.user.storage.transaction import SqlUserTx
from services.user.usecases.accounts import Accounts
from services.user.usecases.attempts import Attempts
from services.user.usecases.common import Outside
from services.user.usecases.erasures import Erasures
from services.user.usecases.passwords import Passwords
from services.user.usecases.sessions import SignIn
from services.user.usecases.upkeep import Upkeep

ENVELOPE_KEY = "envelope.key"
_COUNT_SECONDS = 5.0
_SWEEP_SECONDS = 60.0


@asynccontextmanager
async def compose(mesh: Mesh[UserSettings]) -> AsyncIterator[Sequence[Binding]]:
    """Open the database, start the background work, and yield the servicers."""
    settings, clock = mesh.settings, mesh.clock
    signing_key, envelope_key = _keys(settings)
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url)
        stack.push_async_callback(database.close)
        gauge(names.DATABASE_CONNECTIONS).set_function(lambda: database.connections_active)
        hasher = BcryptHasher(settings.user_bcrypt_cost, settings.user_hash_threads, settings.user_hash_waiting)
        stack.callback(hasher.close)
        replica = await stack.enter_async_context(replica_of(settings.user_replica_url, "user", mesh.redis, clock))
        units = SqlUnits(database, SqlUserTx, Claims(CLAIMS, clock, Envelope([envelope_key])), replica)
        live = live_values(settings)
        outside = Outside(
            units=units,
            clock=clock,
            ids=RandomIds(clock),
            hasher=hasher,
            access_tokens=SignedAccessTokens(signing_key, KeySetFile(settings.keys / USER_KEY_SET, clock), clock),
            refresh_secrets=RandomRefreshSecrets(),
            revoker=RedisRevoker(mesh.redis, mesh.revocations),
            blinder=KeyedBlinder(derived_key(envelope_key, "request fingerprints")),
            key_secrets=RandomKeySecrets(),
            live=live,
        )
        upkeep = Upkeep(outside, settings.session_rules, settings.throttle_rules, ActiveUsersGauge())
        await stack.enter_async_context(_in_background(settings, upkeep, units, Locks(mesh.redis)))
        memory = RedisMemoryGauge(mesh.redis)
        await stack.enter_async_context(repeating("measure Redis", _COUNT_SECONDS, memory.measure))
        page_tokens = PageTokens(derived_key(envelope_key, "page tokens"))
        files = await stack.enter_async_context(keeping_files(mesh, units, live, page_tokens))
        governed = await stack.enter_async_context(governing(mesh, outside, page_tokens))
        noticed = await stack.enter_async_context(noticing(mesh, outside, live, page_tokens))
        yield [*_bindings(settings, outside, page_tokens), *governed, *noticed, files]


def _bindings(settings: UserSettings, outside: Outside, page_tokens: PageTokens) -> list[Binding]:
    attempts = Attempts(outside, settings.throttle_rules)
    users = UserApi(Accounts(outside), Passwords(outside, attempts))
    sessions = SessionApi(SignIn(outside, attempts, settings.session_rules), outside.access_tokens, page_tokens)
    return [
        Binding(add_UserServiceServicer_to_server, users),
        Binding(add_SessionServiceServicer_to_server, sessions),
        Binding(add_ErasureServiceServicer_to_server, ErasureApi(Erasures(outside.units), page_tokens)),
    ]


def _keys(settings: UserSettings) -> tuple[SigningKey, bytes]:
    try:
        return SigningKey.load(settings.keys / USER_KEY), (settings.keys / ENVELOPE_KEY).read_bytes()
    except (OSError, ValueError) as error:
        raise StartError(f"user cannot read its keys in {settings.keys}: {error}") from error


@asynccontextmanager
async def _in_background(
    settings: UserSettings, upkeep: Upkeep, units: SqlUnits[SqlUserTx], locks: Locks
) -> AsyncIterator[None]:
    async def sweep() -> None:
        await upkeep.sweep()
        await units.sweep()

    async with (
        repeating("republish revocations", settings.user_republish_seconds, upkeep.republish),
        repeating("count active users", _COUNT_SECONDS, upkeep.count_active),
        repeating("sweep", _SWEEP_SECONDS, taking_turns(locks, "user sweep", 0.9 * _SWEEP_SECONDS, sweep)),
    ):
        yield
