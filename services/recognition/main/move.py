"""`move TENANT USER SHARD`: moves one user's rows to another database while the service runs."""

import asyncio
import sys
from contextlib import AsyncExitStack

from services.kit.clock import SystemClock
from services.kit.database import Database
from services.kit.errors import CandelaError
from services.kit.locks import Locks
from services.kit.redis import redis_client
from services.kit.shard_homes import Homes
from services.kit.shard_map import ShardMap, User
from services.kit.sharding_move import Moved, Mover
from services.recognition.settings import RecognitionSettings
from services.recognition.storage import shard_homes, user_tables


def move(settings: RecognitionSettings, user: User, target: str) -> int:
    """Move, print what was done, and return the exit status. Repeat it after a crash: it finishes what was begun."""
    try:
        slots = settings.shards
        if slots is None:
            raise ValueError("CANDELA_RECOGNITION_SHARDS is not set: there is one database")
        moved = asyncio.run(_move(settings.redis, slots, user, target))
    except (CandelaError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{user.id}: {moved.copied} rows from {moved.source} to {target}\n")
    return 0


async def _move(redis_url: str, slots: ShardMap, user: User, target: str) -> Moved:
    async with AsyncExitStack() as stack:
        databases = {name: Database(url) for name, url in slots.urls.items()}
        for database in databases.values():
            stack.push_async_callback(database.close)
        redis = await stack.enter_async_context(redis_client(redis_url))
        held = await stack.enter_async_context(Locks(redis).hold(f"move recognition {user.tenant} {user.id}"))
        mover = Mover(databases, slots, Homes(shard_homes, SystemClock()), user_tables())
        return await mover.move(user, target, held.token)
