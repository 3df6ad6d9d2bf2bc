"""A real Redis Cluster for tests: three nodes on loopback ports of their own, each with a third of the slots."""

import contextlib
import os
import random
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest
import redis
from redis.exceptions import ConnectionError, RedisError

from tests.support.binaries import require_binary
from tests.support.child_process import start, stop
from tests.support.eventually import eventually_sync

SLOTS = 16384
NODES = 3
# A node's own port and the bus port, which is 10,000 higher, must both be free; ports above are handed out to clients.
_PORTS = range(12000, 22000)


@dataclass
class Node:
    """One node of the cluster."""

    binary: Path
    folder: Path
    port: int
    slots: range
    process: "Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it; it finds the others again by what it wrote down."""
        settings = {
            "port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": "", "appendonly": "no",
            "cluster-enabled": "yes", "cluster-config-file": "nodes.conf", "cluster-node-timeout": "1000",
        }  # fmt: skip
        options = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
        self.process = start(
            [self.binary, *options],
            folder=self.folder,
            log=self.folder / "log",
            identity={},
            parent_gone=signal.SIGKILL,
        )
        eventually_sync(self._answers, timeout=20)

    def stop(self) -> None:
        """Kill it, as a machine dies."""
        if self.process is not None:
            stop(self.process, [signal.SIGKILL])

    def client(self) -> "redis.Redis":
        """Return a client of this node alone."""
        return redis.Redis(port=self.port, protocol=2, driver_info=None)

    def _answers(self) -> bool:
        with self.client() as client, contextlib.suppress(ConnectionError):
            return bool(client.ping())
        return False


class RedisClusterServer:
    """Three nodes that know one another."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        """What `redis_client` takes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def node_of(self, slot: int) -> Node:
        """Return the node that has a slot."""
        return next(node for node in self.nodes if slot in node.slots)

    def wait_until_whole(self) -> None:
        """Return when every node says that every slot is served."""
        eventually_sync(lambda: all(self._is_whole(node) for node in self.nodes), timeout=30)

    def empty(self) -> None:
        """Forget every key."""
        for node in self.nodes:
            with node.client() as client:
                client.flushall()

    def _is_whole(self, node: Node) -> bool:
        with node.client() as client, contextlib.suppress(RedisError):
            state = client.execute_command("CLUSTER INFO")
            return bool(state["cluster_state"] == "ok" and state["cluster_known_nodes"] == str(len(self.nodes)))
        return False


@contextmanager
def redis_cluster() -> Iterator[RedisClusterServer]:
    """Run a cluster for the length of the block; the test ends as "not run" where there is no Redis."""
    binary = require_binary("redis-server")
    with tempfile.TemporaryDirectory(prefix="candela-cluster-") as name, ExitStack() as stack:
        nodes = [
            Node(binary, Path(name) / str(number), port, range(SLOTS * number // NODES, SLOTS * (number + 1) // NODES))
            for number, port in enumerate(_free_ports(NODES))
        ]
        for node in nodes:
            node.folder.mkdir()
            stack.callback(node.stop)
            node.start()
        for node in nodes:
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTS", *node.slots)
                client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
        cluster = RedisClusterServer(nodes)
        cluster.wait_until_whole()
        yield cluster


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    # Each process looks in another place: two that run side by side must not both find the same ports free.
    for port in random.Random(os.getpid()).sample(_PORTS, 200):
        if _is_free(port) and _is_free(port + 10000):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports for a Redis cluster")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[RedisClusterServer]:
    """The session's cluster; use `cluster`, which empties it first."""
    with redis_cluster() as server:
        yield server


@pytest.fixture
def cluster(shared_cluster: RedisClusterServer) -> RedisClusterServer:
    """A whole and empty cluster."""
    shared_cluster.wait_until_whole()
    shared_cluster.empty()
    return shared_cluster
