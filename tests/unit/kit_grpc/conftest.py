"""A running echo server and a stub to it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from services.kit.pipeline.deadline import Limits
from tests.support.grpc_server import RunningServer, running_server
from tests.support.redis_server import redis, redis_url, shared_redis
from tests.unit.kit_grpc.echo import Echo, binding, pb_grpc

__all__ = ["redis", "redis_url", "shared_redis"]


@dataclass
class EchoServer:
    server: RunningServer
    servicer: Echo
    stub: Any


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    servicer = Echo()
    async with running_server(binding(servicer), limits=Limits(unary_seconds=5.0, stream_seconds=5.0)) as server:
        yield EchoServer(server, servicer, pb_grpc.EchoServiceStub(server.channel))
        servicer.go_on.set()
