"""Replicas that a test starts and ends, and Exchanges to them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from observability.telemetry import Telemetry, start_telemetry
from services.kit.exchange.addresses import Addresses
from services.kit.exchange.client import Exchange, open_exchange
from services.kit.exchange.door import Door
from services.kit.exchange.options import ClientOptions, DoorOptions
from services.kit.settings import MIB, ServerSettings
from tests.support.grpc_server import MeshKeys, RunningServer, running_server
from tests.unit.kit_exchange.models import CONTRACT, InferRequest, Models, embed


class Replica:
    """One server that a test may end."""

    def __init__(self, server: RunningServer, models: Models, draining: asyncio.Event, stack: AsyncExitStack) -> None:
        self.server = server
        self.models = models
        self.draining = draining
        self.stack = stack

    @property
    def address(self) -> str:
        return self.server.address

    async def stop(self) -> None:
        self.draining.set()
        await self.stack.aclose()

    async def kill(self) -> None:
        """End at once: nothing that is under way is answered."""
        await self.stack.aclose()


class Mesh:
    """Replicas with one set of keys, and Exchanges to them."""

    def __init__(self, folder: Path) -> None:
        self.keys = MeshKeys(folder)
        self.exporter = InMemorySpanExporter()
        self.telemetry: Telemetry = start_telemetry("recognition", processors=[SimpleSpanProcessor(self.exporter)])
        self.stack = AsyncExitStack()

    async def replica(
        self, name: str = "m", listen: str = "127.0.0.1:0", handlers: Any = None, **options: Any
    ) -> Replica:
        models, draining, stack = Models(name), asyncio.Event(), AsyncExitStack()
        chosen = models.frames() | (handlers(models) if handlers else {})
        most = options.pop("max_receive_bytes", 33 * MIB)
        settings = ServerSettings(listen=listen, metrics_port=0, drain_seconds=0.2, max_receive_bytes=most)
        door = Door(CONTRACT, chosen, DoorOptions(**{"sampled": 0.0} | options), draining)
        server = await stack.enter_async_context(
            running_server(*models.bindings(door), service="inference", keys=self.keys, settings=settings)
        )
        await self.stack.enter_async_context(stack)
        return Replica(server, models, draining, stack)

    @asynccontextmanager
    async def exchange(self, *addresses: Any, **options: Any) -> AsyncIterator[Exchange]:
        places = [one if isinstance(one, str) else one.address for one in addresses]
        defaults: dict[str, Any] = {"first_pause_seconds": 0.01, "longest_pause_seconds": 0.05}
        async with open_exchange(
            "inference",
            CONTRACT,
            Addresses(places),
            self.keys.identity("recognition"),
            self.telemetry.tracer,
            options=ClientOptions(**defaults | options),
        ) as exchange:
            yield exchange


async def ask(exchange: Exchange, text: str, **options: Any) -> str:
    return str((await exchange.call("embed_texts", embed(text), **options)).model)


async def infer(exchange: Exchange, text: str, **options: Any) -> str:
    return str((await exchange.call("infer", InferRequest(model_name=text), **options)).model_name)
