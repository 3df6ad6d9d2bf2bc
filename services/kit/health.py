"""grpc.health.v1 for a server that drains: watchers learn of it and are let go, so that they do not hold it up."""

import asyncio
from contextlib import suppress
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer  # the package's asynchronous servicer has no public path

_FAREWELL_SECONDS = 0.5


class Health(HealthServicer):  # type: ignore[misc] # the package has no types
    """The health of a server and of each of its services, by name; the empty name is the server."""

    def __init__(self, draining: asyncio.Event) -> None:
        super().__init__()
        self._draining = draining

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Stream the state and its changes; ends after NOT_SERVING once the server drains."""
        watch = asyncio.ensure_future(super().Watch(request, context))
        drain = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait({watch, drain}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({watch}, timeout=_FAREWELL_SECONDS)
        finally:
            for task in (watch, drain):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await watch
