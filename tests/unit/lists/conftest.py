"""Both services over one kind of database, with everything between the wire and the rows."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import Engine, delete, event, insert

import services.recognition.storage
import services.user
from candela.erasure.v1 import erasure_service_pb2
from observability.telemetry import start_telemetry
from services.kit.bootstrap import running
from services.kit.call import call_or_none
from services.kit.database import Database
from services.kit.migrations import upgrade
from services.recognition.main.compose import compose as compose_recognition
from services.recognition.settings import RecognitionSettings
from services.user.main.compose import ENVELOPE_KEY
from services.user.main.compose import compose as compose_user
from services.user.settings import UserSettings
from services.user.storage import tables
from tests.support.databases import KINDS, new_database, postgres
from tests.support.grpc_server import MeshKeys
from tests.support.redis_server import redis, redis_url, shared_redis
from tests.unit.lists.cases import ADA, CASES, RECOGNITION, TENANT, ListCase

__all__ = ["postgres", "redis", "redis_url", "shared_redis"]

_MIGRATIONS = {
    "user": Path(services.user.__file__).parent / "migrations",
    "recognition": Path(services.recognition.storage.__file__).parent / "migrations",
}


def methods_of(service: str) -> dict[str, MethodDescriptor]:
    """Return the descriptors of a service's RPCs by their names."""
    return dict(descriptor_pool.Default().FindServiceByName(service).methods_by_name)


def method_of(name: str) -> MethodDescriptor:
    """Return the descriptor of an RPC by its full name."""
    service, _, method = name.rpartition(".")
    return methods_of(service)[method]


@dataclass
class Lists:
    """The running services, their databases, and calls as the one who may make them."""

    channels: dict[str, grpc.aio.Channel]
    databases: dict[str, Database]
    keys: MeshKeys

    def _service(self, name: str) -> str:
        return "recognition" if name.startswith(RECOGNITION) else "user"

    async def call(self, name: str, /, **fields: Any) -> Message:
        """Call a list as an administrator, or as the service that it is for."""
        method = method_of(name)
        internal = name.startswith(erasure_service_pb2.DESCRIPTOR.package)
        who = self.keys.as_service("recognition", "user") if internal else self.keys.as_user(ADA, role="ADMIN")
        path = f"/{method.containing_service.full_name}/{method.name}"
        stub: Any = self.channels[self._service(name)].unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        reply: Message = await stub(GetMessageClass(method.input_type)(**fields), metadata=who)
        return reply

    async def page(self, name: str, size: int, token: str = "") -> tuple[list[str], str]:
        """Return what a page's items are called, and the token of the next."""
        case = CASES[name]
        reply: Any = await self.call(name, page_size=size, page_token=token, **case.request)
        (items,) = (value for kind, value in reply.ListFields() if kind.is_repeated) if reply.ListFields() else ([],)
        return [case.item(item) for item in items], reply.next_page_token

    async def fill(self, name: str, numbers: list[int]) -> None:
        """Put the rows of these numbers in."""
        case = CASES[name]
        async with self.databases[self._service(name)].write_session() as session:
            if numbers:
                await session.execute(insert(case.table), [case.row(number) for number in numbers])
            await session.commit()

    async def remove(self, name: str, numbers: list[int]) -> None:
        """Take the rows of these numbers out."""
        case = CASES[name]
        async with self.databases[self._service(name)].write_session() as session:
            for number in numbers:
                await session.execute(delete(case.table).where(case.table.c[case.key] == case.sets(number)[case.key]))
            await session.commit()

    async def empty(self, name: str) -> None:
        """Take every row out but the caller's own account, and set what the rows refer to."""
        case: ListCase = CASES[name]
        ada = {"id": ADA, "tenant": TENANT, "email": "ada@example.com", "role": "ADMIN", "state": "ACTIVE"}
        async with self.databases[self._service(name)].write_session() as session:
            await session.execute(delete(case.table))
            if self._service(name) == "user":
                for table in (tables.USERS, tables.AUDIT_ENTRIES, tables.AUDIT_HEADS):
                    await session.execute(delete(table))
                account = CASES["candela.user.v1.UserAdminService.ListUsers"].row(0)
                await session.execute(insert(tables.USERS).values({**account, **ada}))
                head = {"tenant": TENANT, "seq": 10_000, "seal": b"s" * 32}  # rows of the chain are put in below it
                await session.execute(insert(tables.AUDIT_HEADS).values(head))
            await session.commit()


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count the statements that each RPC sends to any database; the background's are nobody's."""
    counts: dict[str, int] = {}

    def count(*_: object) -> None:
        call = call_or_none()
        if call is not None:
            counts[call.method] = counts.get(call.method, 0) + 1

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield counts
    finally:
        event.remove(Engine, "before_cursor_execute", count)


@pytest.fixture(params=KINDS)
async def lists(request: pytest.FixtureRequest, tmp_path: Path, redis: Redis, redis_url: str) -> AsyncIterator[Lists]:
    keys = MeshKeys(tmp_path / "keys")
    (tmp_path / "keys" / ENVELOPE_KEY).write_bytes(b"e" * 32)
    urls = {name: await new_database(request.param, request, tmp_path) for name in _MIGRATIONS}
    for name, url in urls.items():
        await upgrade(url, _MIGRATIONS[name])
    common: dict[str, Any] = {
        "data_dir": tmp_path, "listen": "127.0.0.1:0", "metrics_port": 0, "redis_url": SecretStr(redis_url),
        "drain_seconds": 1, "inference_endpoints": "127.0.0.1:1",
    }  # fmt: skip
    user = UserSettings(user_database_url=SecretStr(urls["user"]), **common)
    async with AsyncExitStack() as stack:
        databases = {name: Database(url) for name, url in urls.items()}
        for database in databases.values():
            stack.push_async_callback(database.close)
        telemetry = start_telemetry("user")
        stack.callback(telemetry.close)
        servers = {"user": await stack.enter_async_context(running(user, compose_user, telemetry))}
        recognition = RecognitionSettings(
            recognition_database_url=SecretStr(urls["recognition"]), user_endpoints=servers["user"].address, **common
        )
        servers["recognition"] = await stack.enter_async_context(running(recognition, compose_recognition, telemetry))
        channels = {
            name: await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
            for name, server in servers.items()
        }
        yield Lists(channels, databases, keys)
