"""The server's side of an Exchange: a servicer made of handlers that have unary twins.

    door = Door(
        CONTRACT,
        {"detect_text": Frames(engines.detect_text), "capture": servicer.Capture},
        DoorOptions.of(mesh.settings),
        mesh.draining,
    )
    yield [Binding(add_ExchangeServiceServicer_to_server, door), …]

A handler is `Frames`, which is given all calls of a frame at once and answers them when it can, or the very function of
the servicer that answers the unary method.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from services.kit.call import Principal
from services.kit.errors import Internal
from services.kit.exchange.contract import Contract
from services.kit.exchange.options import DoorOptions
from services.kit.exchange.stream import ServerStream
from services.kit.exchange.table import Frames, Table, check_handlers
from services.kit.pipeline.core import Pipeline
from services.kit.pipeline.items import ItemStreams

__all__ = ["Door", "Frames"]


class Door(ItemStreams):
    """Serves every stream of one Exchange."""

    def __init__(
        self,
        contract: Contract,
        handlers: Mapping[str, Any],
        options: DoorOptions | None = None,
        draining: asyncio.Event | None = None,
    ) -> None:
        """Answer each member of `contract` with its handler; TypeError when one is missing or cannot be run.

        When `draining` is set, every stream says so to its caller and finishes.
        """
        check_handlers(contract, handlers)
        self._contract = contract
        self._handlers = dict(handlers)
        self._options = options or DoorOptions()
        self._draining = draining or asyncio.Event()
        self._table: Table | None = None
        self._streams: set[ServerStream] = set()
        self._watcher: asyncio.Task[None] | None = None

    async def Exchange(self, requests: Any, context: Any) -> None:
        """Be the method's behaviour; the pipeline calls `serve` in its place."""
        raise Internal(f"{self._contract.path} is served without the kit's pipeline")

    def attach(self, pipeline: Pipeline) -> None:
        if self._table is None:
            self._table = Table(self._contract, self._handlers, self._options, pipeline)

    async def serve(self, context: Any, principal: Principal, authorization: str) -> None:
        if self._table is None:
            raise Internal("a stream came before its pipeline")
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._drain())
        stream = ServerStream(self._table, context, principal, authorization)
        self._streams.add(stream)
        if self._draining.is_set():
            stream.drain()
        try:
            await stream.run()
        finally:
            self._streams.discard(stream)
            if not self._streams:
                self._watcher, watcher = None, self._watcher
                if watcher is not None:
                    watcher.cancel()

    async def _drain(self) -> None:
        await self._draining.wait()
        for stream in list(self._streams):
            stream.drain()
