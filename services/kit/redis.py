"""Redis: a client with bounded patience, keys that carry the tenant, and one clear error when it is away.

Commands are those of Redis 6.2, over RESP 2. A command whose connection breaks is sent again, so it may be applied
twice: use commands for which that is harmless (SET, ZADD, EXPIRE, scripts that check), or a token that tells a repeat.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, cast
from urllib.parse import quote, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    ReadOnlyError,
    RedisClusterException,
    SlotNotCoveredError,
    TimeoutError,
    TryAgainError,
)

from services.kit.errors import Unavailable

_OUTAGES = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, ClusterDownError, TryAgainError, OSError)
_SAFE = "-_.~@"
_CLUSTER_SCHEMES = {"redis+cluster": False, "rediss+cluster": True}
_DEFAULT_PORT = 6379


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
    """Return a client for `redis://`, `rediss://`, `unix://` or a cluster; it connects when first used.

    A cluster is named by some of its nodes, `redis+cluster://user:password@host:6379,host:6379` (`rediss+cluster` over
    TLS). Its client has the commands of the other, as long as the keys of one command, script or transaction share
    their hash tag, as those of `Keys` do. Replies are bytes. ValueError for a URL without a host.
    """
    retry = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.2), options.retries)
    common: dict[str, Any] = {
        "max_connections": options.connections,
        "socket_connect_timeout": options.connect_timeout,
        "socket_timeout": options.read_timeout,
        "health_check_interval": options.idle_check,
        "retry": retry,
        "protocol": 2,
        "driver_info": None,  # CLIENT SETINFO came with Redis 7.2
    }
    if urlsplit(url).scheme in _CLUSTER_SCHEMES:
        return cast(Redis, _ClusterClient.at(url, common))
    return Redis.from_pool(BlockingConnectionPool.from_url(url, timeout=options.pool_timeout, **common))


class _ClusterClient(RedisCluster):
    """A cluster's client whose outages are ConnectionErrors like any other client's."""

    @classmethod
    def at(cls, url: str, options: dict[str, Any]) -> Self:
        parts = urlsplit(url)
        identity, _, hosts = parts.netloc.rpartition("@")
        user, _, password = identity.partition(":")
        nodes = [_node(host) for host in hosts.split(",") if host]
        if not nodes:
            raise ValueError("a cluster's URL names one node at least: redis+cluster://host:6379,host:6379")
        return cls(
            startup_nodes=nodes,
            username=unquote(user) or None,
            password=unquote(password) or None,
            ssl=_CLUSTER_SCHEMES[parts.scheme],
            require_full_coverage=False,  # what the nodes that are left can answer, they shall
            **options,
        )

    async def initialize(self, *args: Any, **kwargs: Any) -> RedisCluster:
        try:
            return await super().initialize(*args, **kwargs)
        except RedisClusterException as error:
            raise ConnectionError(f"no node of the cluster answers: {error}") from error

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().execute_command(*args, **kwargs)
        except SlotNotCoveredError as error:
            raise ConnectionError(str(error)) from error


def _node(host: str) -> ClusterNode:
    name, _, port = host.rpartition(":")
    return ClusterNode((name or port).strip("[]"), int(port) if name else _DEFAULT_PORT)


@contextmanager
def reaching_redis() -> Iterator[None]:
    """Turn an outage inside the block into Unavailable; what Redis answers to a wrong command stays as it is."""
    try:
        yield
    except _OUTAGES as error:
        raise Unavailable("Redis does not answer", metadata={"part": "redis"}, retry_after=1.0) from error


async def used_memory(client: Redis) -> int:
    """Return the bytes that Redis uses, all nodes of a cluster together: the value of `redis_memory_usage_bytes`."""
    with reaching_redis():
        if isinstance(client, RedisCluster):
            nodes = await client.info("memory", target_nodes=RedisCluster.PRIMARIES)
            return sum(int(node["used_memory"]) for node in nodes.values())
        information = await client.info("memory")
    return int(information["used_memory"])


class Keys:
    """Builds one tenant's keys: `candela:{acme}:sessions:01h…`.

    The braces are a hash tag: all keys of a tenant live in one slot of a cluster, so that scripts and transactions may
    take several. Every key of Candela has such a tag: tests walk them. Parts are escaped, so no part (an address of
    e-mail, a file name) reaches into another key or tenant.
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
