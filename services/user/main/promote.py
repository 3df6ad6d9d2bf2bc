"""`make-admin IDENTIFIER`: makes an account an admin, whether the mesh runs or not."""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass

from services.kit.clock import Clock, SystemClock
from services.kit.database import Database
from services.kit.database_url import DatabaseUrl
from services.kit.errors import CandelaError
from services.kit.redis import RedisOptions, redis_client
from services.kit.revocation import Revocations
from services.kit.uow import Units
from services.kit.uow_sql import SqlUnits
from services.user.domain.accounts import Role, User
from services.user.ports import Revoker, UserTx
from services.user.providers.revoking import RedisRevoker
from services.user.settings import UserSettings
from services.user.storage.transaction import SqlUserTx
from services.user.usecases.promotion import make_admin

# The mesh may be down: the database has the revocation, and the user service puts it into Redis at its next turn.
_IMPATIENT = RedisOptions(connect_timeout=0.2, read_timeout=0.5, retries=0)


@dataclass(frozen=True, slots=True)
class _Machine:
    """What the use case needs of the world."""

    units: Units[UserTx]
    clock: Clock
    revoker: Revoker


def promote(settings: UserSettings, identifier: str) -> int:
    """Print what was done and return 0, or why not on stderr and return 1."""
    url = DatabaseUrl(settings.database_url)
    if url.is_sqlite and not url.path.exists():
        sys.stderr.write(f"there is no database at {url.path}: start the mesh with `make run` and register first\n")
        return 1
    try:
        user, before = asyncio.run(_promote(settings, identifier))
    except CandelaError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(_told(user, before) + "\n")
    return 0


async def _promote(settings: UserSettings, identifier: str) -> tuple[User, Role]:
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url)
        stack.push_async_callback(database.close)
        redis = redis_client(_redis_url(settings), _IMPATIENT)
        stack.push_async_callback(redis.aclose)
        clock = SystemClock()
        revoker = RedisRevoker(redis, Revocations(redis, clock=clock), quiet=True)
        return await make_admin(_Machine(SqlUnits(database, SqlUserTx), clock, revoker), identifier)


def _redis_url(settings: UserSettings) -> str:
    """Return where Redis is; the mesh's own has a password, which the supervisor hands only to its processes."""
    password_file = settings.keys / "redis.password"
    if settings.redis_url is not None or not password_file.exists():
        return settings.redis
    return f"redis://:{password_file.read_text().strip()}@127.0.0.1:{settings.ports.redis}/0"


def _told(user: User, before: Role) -> str:
    name = user.email or user.phone or user.username
    if before is Role.ADMIN:
        return f"{name} (users/{user.id}) is an admin already"
    registered = user.create_time.strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{name} (users/{user.id}, registered {registered}) is an admin now; was {before.value}. "
        "Access tokens from before have ended: refresh the session or log in again."
    )
