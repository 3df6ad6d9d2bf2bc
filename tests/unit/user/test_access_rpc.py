"""Keys, administration and the audit log of the whole service over a real channel, as its process runs it."""

import uuid
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import SecretStr

import services.user
from candela.identity.v1 import key_service_pb2
from candela.identity.v1.key_service_pb2_grpc import KeyServiceStub
from candela.user.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    audit_service_pb2,
    session_service_pb2,
    user_admin_service_pb2,
    user_service_pb2,
)
from candela.user.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from candela.user.v1.audit_service_pb2_grpc import AuditServiceStub
from candela.user.v1.session_service_pb2_grpc import SessionServiceStub
from candela.user.v1.user_admin_service_pb2_grpc import UserAdminServiceStub
from candela.user.v1.user_service_pb2_grpc import UserServiceStub
from observability.telemetry import start_telemetry
from services.kit.bootstrap import running
from services.kit.channel import open_channel
from services.kit.errors import CandelaError
from services.kit.grpc_status import from_rpc_error
from services.kit.key_reports import RefusedKey, UsedKey
from services.kit.key_service import KeyServiceSource
from services.kit.key_text import digest_of
from services.kit.migrations import upgrade
from services.user.main.compose import ENVELOPE_KEY, compose
from services.user.settings import UserSettings
from tests.support.grpc_server import MeshKeys, Metadata, bearer

if TYPE_CHECKING:  # these exist in the type stubs only
    from candela.identity.v1.key_service_pb2_grpc import KeyServiceAsyncStub
    from candela.user.v1.api_key_service_pb2_grpc import ApiKeyServiceAsyncStub
    from candela.user.v1.audit_service_pb2_grpc import AuditServiceAsyncStub
    from candela.user.v1.session_service_pb2_grpc import SessionServiceAsyncStub
    from candela.user.v1.user_admin_service_pb2_grpc import UserAdminServiceAsyncStub
    from candela.user.v1.user_service_pb2_grpc import UserServiceAsyncStub

MIGRATIONS = Path(services.user.__file__).parent / "migrations"
PASSWORD = "correct horse battery staple"
NO_TIME = Timestamp(seconds=10**18)  # JSON cannot say it, gRPC can


@dataclass
class Service:
    """Stubs of the running service, and another service's view of its keys."""

    users: "UserServiceAsyncStub"
    sessions: "SessionServiceAsyncStub"
    api_keys: "ApiKeyServiceAsyncStub"
    admin: "UserAdminServiceAsyncStub"
    audit: "AuditServiceAsyncStub"
    key_service: "KeyServiceAsyncStub"
    source: KeyServiceSource
    keys: MeshKeys

    async def signed_in(self) -> Metadata:
        email = f"{uuid.uuid4().hex}@example.com"
        await self.users.RegisterUser(user_service_pb2.RegisterUserRequest(email=email, password=PASSWORD))
        request = session_service_pb2.CreateSessionRequest(identifier=email, password=PASSWORD)
        return bearer((await self.sessions.CreateSession(request)).access_token)

    async def new_key(self, owner: Metadata, **fields: object) -> api_key_pb2.ApiKeyGrant:
        request = api_key_service_pb2.CreateApiKeyRequest(
            display_name="k",
            scopes=[api_key_pb2.API_KEY_SCOPE_FILES],
            **fields,  # type: ignore[arg-type]  # each test names the fields it means
        )
        return await self.api_keys.CreateApiKey(request, metadata=owner)

    async def get_key(self, owner: Metadata, name: str) -> api_key_pb2.ApiKey:
        return await self.api_keys.GetApiKey(api_key_service_pb2.GetApiKeyRequest(name=name), metadata=owner)


@pytest_asyncio.fixture
async def service(tmp_path: Path, redis_url: str) -> AsyncIterator[Service]:
    keys = MeshKeys(tmp_path / "keys")
    (tmp_path / "keys" / ENVELOPE_KEY).write_bytes(b"e" * 32)
    settings = UserSettings(
        data_dir=tmp_path,
        listen="127.0.0.1:0",
        metrics_port=0,
        redis_url=SecretStr(redis_url),
        user_bcrypt_cost=4,
        drain_seconds=1,
    )
    await upgrade(settings.database_url, MIGRATIONS)
    telemetry = start_telemetry("user")
    async with (
        running(settings, compose, telemetry) as server,
        grpc.aio.insecure_channel(server.address) as channel,
        open_channel("user", [server.address], keys.identity("recognition"), telemetry.tracer) as mesh_channel,
    ):
        yield Service(
            UserServiceStub(channel),
            SessionServiceStub(channel),
            ApiKeyServiceStub(channel),
            UserAdminServiceStub(channel),
            AuditServiceStub(channel),
            KeyServiceStub(mesh_channel),
            KeyServiceSource(mesh_channel),
            keys,
        )
    telemetry.close()


async def refused(call: Awaitable[object]) -> CandelaError:
    """Await a call that must fail."""
    with pytest.raises(grpc.RpcError) as error:
        await call
    return from_rpc_error(error.value)


async def test_another_service_learns_what_a_key_stands_for(service: Service) -> None:
    owner = await service.signed_in()
    ends = Timestamp()
    ends.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    grant = await service.new_key(owner, expire_time=ends, requests_per_minute=7)
    known = await service.source.look_up(digest_of(grant.secret))
    assert known is not None
    principal = known.principal
    assert f"apiKeys/{principal.api_key}" == grant.api_key.name
    assert (principal.scopes, principal.role, principal.requests_per_minute) == (frozenset({"FILES"}), "FREE", 7)
    assert (principal.session, principal.service) == ("", "")
    assert known.expires_at == pytest.approx(ends.ToDatetime(UTC).timestamp())
    assert await service.source.look_up(digest_of("ck_made_up")) is None


async def test_another_service_tells_of_uses_once(service: Service) -> None:
    owner = await service.signed_in()
    grant = await service.new_key(owner)
    known = await service.source.look_up(digest_of(grant.secret))
    assert known is not None
    key, minute = known.principal.api_key, datetime(2026, 5, 1, 12, 34, tzinfo=UTC)
    refusals = [RefusedKey("default", key, "x.Y/Z", "PERMISSION_DENIED", 2)]
    await service.source.report([UsedKey("default", key, minute)], refusals)
    seen = await service.get_key(owner, grant.api_key.name)
    assert seen.last_use_time.ToDatetime(UTC) == minute
    assert seen.etag == grant.api_key.etag
    request = key_service_pb2.ReportKeyUsesRequest(request_id=str(uuid.uuid4()))
    request.refusals.add(tenant="default", key=key, method="x.Y/Z", reason="PERMISSION_DENIED", count=5)
    for _ in range(2):  # a repeat is answered and not counted
        await service.key_service.ReportKeyUses(request)
    admin = service.keys.as_user("root", role="ADMIN")
    wanted = audit_service_pb2.ListAuditEventsRequest(action="api_key.refused", resource=grant.api_key.name)
    events = (await service.audit.ListAuditEvents(wanted, metadata=admin)).audit_events
    assert [(event.method, event.reason, event.details["count"]) for event in events] == [
        ("x.Y/Z", "PERMISSION_DENIED", "5"),
        ("x.Y/Z", "PERMISSION_DENIED", "2"),
    ]


async def test_a_digest_is_32_bytes(service: Service) -> None:
    with pytest.raises(CandelaError) as wrong:
        await service.key_service.LookUpKey(key_service_pb2.LookUpKeyRequest(digest=b"short"))
    assert wrong.value.reason == "INVALID_ARGUMENT"


async def test_times_that_no_calendar_has_are_refused(service: Service) -> None:
    owner, admin = await service.signed_in(), service.keys.as_user("root", role="ADMIN")
    listed = audit_service_pb2.ListAuditEventsRequest(start_time=NO_TIME)
    verified = audit_service_pb2.VerifyAuditLogRequest(start_time=NO_TIME)
    for call in (
        service.new_key(owner, expire_time=NO_TIME),
        service.audit.ListAuditEvents(listed, metadata=admin),
        service.audit.VerifyAuditLog(verified, metadata=admin),
    ):
        assert (await refused(call)).reason == "INVALID_ARGUMENT"


async def test_control_characters_are_refused_and_not_looked_for(service: Service) -> None:
    owner, admin = await service.signed_in(), service.keys.as_user("root", role="ADMIN")
    users = user_admin_service_pb2.ListUsersRequest(query="a\x00b")
    events = audit_service_pb2.ListAuditEventsRequest(method="a\x00b")
    request = api_key_service_pb2.CreateApiKeyRequest(display_name="\x00", scopes=[api_key_pb2.API_KEY_SCOPE_CHAT])
    for call in (
        service.admin.ListUsers(users, metadata=admin),
        service.audit.ListAuditEvents(events, metadata=admin),
        service.api_keys.CreateApiKey(request, metadata=owner),
    ):
        assert (await refused(call)).reason == "INVALID_ARGUMENT"


async def test_a_key_is_checked_in_the_user_service_itself(service: Service) -> None:
    owner = await service.signed_in()
    grant = await service.new_key(owner)
    program = bearer(grant.secret)
    request = user_service_pb2.GetUserRequest(name="users/me")
    denied = await refused(service.users.GetUser(request, metadata=program))
    assert (denied.reason, denied.metadata) == ("PERMISSION_DENIED", {"credential": "api_key"})
    await service.api_keys.DeleteApiKey(
        api_key_service_pb2.DeleteApiKeyRequest(name=grant.api_key.name), metadata=owner
    )
    assert (await refused(service.users.GetUser(request, metadata=program))).reason == "TOKEN_INVALID"  # at once here


async def test_a_page_token_is_good_for_its_filter_only(service: Service) -> None:
    admin = service.keys.as_user("root", role="ADMIN")
    for _ in range(3):
        await service.signed_in()
    first = await service.admin.ListUsers(
        user_admin_service_pb2.ListUsersRequest(page_size=1, query="example"), metadata=admin
    )
    other = user_admin_service_pb2.ListUsersRequest(page_size=1, query="exam", page_token=first.next_page_token)
    assert (await refused(service.admin.ListUsers(other, metadata=admin))).reason == "PAGE_TOKEN_INVALID"
