"""A server with a door and one stream to it, frame by frame."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from candela.exchange.v1 import exchange_pb2
from services.kit.exchange.door import Door
from services.kit.exchange.options import DoorOptions
from tests.support.grpc_server import RunningServer, running_server
from tests.unit.kit_exchange.models import CONTRACT, Models, embed
from tests.unit.kit_exchange.wire import Call, Wire, wire


class Served:
    """A server with a door, and one stream to it."""

    def __init__(self, server: RunningServer, models: Models, stream: Wire, draining: asyncio.Event) -> None:
        self.server = server
        self.models = models
        self.wire = stream
        self.draining = draining


@asynccontextmanager
async def served(handlers: Any = None, **options: Any) -> AsyncIterator[Served]:
    models, draining = Models(), asyncio.Event()
    chosen = models.frames() | (handlers(models) if handlers else {})
    door = Door(CONTRACT, chosen, DoorOptions(**{"sampled": 0.0} | options), draining)
    async with running_server(*models.bindings(door), service="inference") as server, wire(server) as stream:
        yield Served(server, models, stream, draining)


def call(number: int, text: str = "a") -> Any:
    return Call(id=number, embed_texts=embed(text))


def cancel(number: int) -> Any:
    word = Call(id=number)
    word.cancel.SetInParent()
    return word


def rarely() -> Any:
    """Promise a heartbeat within a minute."""
    word = Call(id=0)
    word.heartbeat.interval.FromSeconds(60)
    return word


def credit(number: int, count: int) -> Any:
    return Call(id=number, credit=exchange_pb2.Credit(count=count))


def code_of(reply: Any) -> int:
    assert reply.last
    return int(reply.error.code)
