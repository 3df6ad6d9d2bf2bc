"""Redis: a client with bounded patience, keys that carry the tenant, and one clear error when it is away.

Commands are those of Redis 6.2, over RESP 2. A command whose connection breaks is sent again, so it may be applied
twice: use commands for which that is harmless (SET, ZADD, EXPIRE, scripts that check), or a token that tells a repeat.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, ReadOnlyError, TimeoutError

from services.kit.errors import Unavailable

_OUTAGES = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OSError)
_SAFE = "-_.~@"


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """How patient a client is; times in seconds.

    `read_timeout` bounds the wait for an answer: a client for blocking commands (XREAD BLOCK) needs one longer than
    the block. `retries` come after the first try, 20 to 200 ms apart. All connections in use for `pool_timeout` counts
    as an outage.
    """

    connect_timeout: float = 0.5
    read_timeout: float = 1.0
    retries: int = 2
    connections: int = 50
    pool_timeout: float = 1.0
    idle_check: int = 15


def redis_client(url: str, options: RedisOptions = RedisOptions()) -> Redis:
    """Return a client for `redis://`, `rediss://` or `unix://`; it connects when first used. Replies are bytes."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=options.connections,
        timeout=options.pool_timeout,
        socket_connect_timeout=options.connect_timeout,
        socket_timeout=options.read_timeout,
        health_check_interval=options.idle_check,
        retry=Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.2), options.retries),
        protocol=2,
        driver_info=None,  # CLIENT SETINFO came with Redis 7.2
    )
    return Redis.from_pool(pool)


@contextmanager
def reaching_redis() -> Iterator[None]:
    """Turn an outage inside the block into Unavailable; what Redis answers to a wrong command stays as it is."""
    try:
        yield
    except _OUTAGES as error:
        raise Unavailable("Redis does not answer", metadata={"part": "redis"}, retry_after=1.0) from error


async def used_memory(client: Redis) -> int:
    """Return the bytes that Redis uses: the value of `redis_memory_usage_bytes`."""
    with reaching_redis():
        information = await client.info("memory")
    return int(information["used_memory"])


class Keys:
    """Builds one tenant's keys: `candela:{acme}:sessions:01h…`.

    The braces are a hash tag: all keys of a tenant live in one slot of a cluster, so that scripts and transactions may
    take several. Parts are escaped, so no part (an e-mail address, a file name) reaches into another key or tenant.
    """

    def __init__(self, tenant: str) -> None:
        """Build for `tenant`; ValueError when it is empty."""
        self._prefix = f"candela:{{{_escaped(tenant)}}}"

    def __call__(self, *parts: str) -> str:
        """Return the key of the parts; ValueError for none or an empty one."""
        if not parts:
            raise ValueError("a key has parts")
        return ":".join((self._prefix, *map(_escaped, parts)))


def _escaped(part: str) -> str:
    if not part:
        raise ValueError("a part of a key is not empty")
    return quote(part, safe=_SAFE)
