"""An echo service as a process of its own, for tests of start, drain and stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from services.kit.bootstrap import Binding, Mesh, run
from services.kit.settings import ServerSettings
from tests.unit.kit_grpc.echo import Echo, binding


class EchoSettings(ServerSettings):
    service_name: ClassVar[str] = "user"


class Lingering(Echo):
    """Answers "slow" only once the process drains."""

    def __init__(self, draining: asyncio.Event) -> None:
        super().__init__()
        self._draining = draining

    async def Open(self, request: Any, context: Any) -> Any:
        if request.text == "slow":
            await self._draining.wait()
            await asyncio.sleep(0.1)  # the port is closed by now
        return await super().Open(request, context)


@asynccontextmanager
async def compose(mesh: Mesh[EchoSettings]) -> AsyncIterator[list[Binding]]:
    yield [binding(Lingering(mesh.draining))]
    print("closed", flush=True)  # what the test waits for


if __name__ == "__main__":
    run(EchoSettings, compose)
