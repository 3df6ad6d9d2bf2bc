"""An echo service as a process of its own, for tests of start, drain and stop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from services.kit.bootstrap import Binding, Mesh, run
from services.kit.settings import ServerSettings
from tests.unit.kit_grpc.echo import Echo, binding


class EchoSettings(ServerSettings):
    service_name: ClassVar[str] = "user"


@asynccontextmanager
async def compose(mesh: Mesh[EchoSettings]) -> AsyncIterator[list[Binding]]:
    yield [binding(Echo())]
    print("closed", flush=True)  # what the test waits for


if __name__ == "__main__":
    run(EchoSettings, compose)
