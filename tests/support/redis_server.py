"""A real Redis for tests: on a Unix socket in a folder of its own. Import the fixtures into a suite's conftest.py."""

import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from services.kit.redis import redis_client
from tests.support.binaries import require_binary
from tests.support.child_process import exited_within, start, stop

_ATTEMPTS = 500  # of 20 ms


class RedisServer:
    """One Redis that can be stopped and started again at the same address; it forgets everything in between."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._socket = folder / "redis.sock"
        self.start()

    @property
    def url(self) -> str:
        """What `redis_client` takes."""
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Start and wait until it answers."""
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"]
        self._process = start(
            [self._binary, *options, "--dir", str(self._folder)],
            folder=self._folder,
            log=self._folder / "log",
            identity={},
            parent_gone=signal.SIGKILL,
        )
        for _ in range(_ATTEMPTS):
            if self._answers():
                return
            if exited_within(self._process):
                break
        raise RuntimeError(f"redis-server did not start: {(self._folder / 'log').read_text()[-500:]}")

    def stop(self) -> None:
        """Stop it; its socket is gone afterwards."""
        stop(self._process, [signal.SIGTERM])
        with suppress(FileNotFoundError):
            self._socket.unlink()

    def pause(self) -> None:
        """Let it hang: connections are taken and nothing is answered."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """End a pause."""
        os.kill(self._process.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(self._socket))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        return False


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a Redis of one's own for the length of the block; the test ends as "not run" where there is none."""
    binary = require_binary("redis-server")
    # A socket's path may have 107 characters: pytest's folders are too deep.
    with tempfile.TemporaryDirectory(prefix="candela-redis-") as name:
        server = RedisServer(binary, Path(name))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """The session's Redis; use `redis_url` or `redis`, which empty it first."""
    with redis_server() as server:
        yield server


@pytest_asyncio.fixture
async def redis(shared_redis: RedisServer) -> AsyncIterator[Redis]:
    """A client of an empty Redis."""
    client = redis_client(shared_redis.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def redis_url(redis: Redis, shared_redis: RedisServer) -> str:
    """The URL of an empty Redis."""
    return shared_redis.url
