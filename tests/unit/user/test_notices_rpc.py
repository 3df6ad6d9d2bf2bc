"""Settings and announcements in the running service: two processes of it, one Redis, one database."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from pydantic import SecretStr

import services.user
from candela.live.v1 import live_setting_service_pb2
from candela.live.v1.live_setting_service_pb2_grpc import LiveSettingServiceStub
from candela.user.v1 import (
    announcement_service_pb2,
    system_config_pb2,
    system_config_service_pb2,
    user_service_pb2,
)
from candela.user.v1.announcement_service_pb2_grpc import AnnouncementServiceStub
from candela.user.v1.system_config_service_pb2_grpc import SystemConfigServiceStub
from candela.user.v1.user_service_pb2_grpc import UserServiceStub
from observability.telemetry import start_telemetry
from services.kit.bootstrap import running
from services.kit.grpc_status import from_rpc_error
from services.kit.live_settings import SIGN_UP_OPEN
from services.kit.migrations import upgrade
from services.user.main.compose import ENVELOPE_KEY, compose
from services.user.settings import UserSettings
from tests.support.eventually import eventually
from tests.support.grpc_server import MeshKeys

MIGRATIONS = Path(services.user.__file__).parent / "migrations"
PASSWORD = "correct horse battery staple"


@dataclass
class Two:
    """Channels to two processes of the service, and the keys that both trust."""

    first: grpc.aio.Channel
    second: grpc.aio.Channel
    keys: MeshKeys


@pytest_asyncio.fixture
async def two(tmp_path: Path, redis_url: str) -> AsyncIterator[Two]:
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
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(running(settings, compose, telemetry)) for _ in range(2)]
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(one.address)) for one in servers]
        yield Two(channels[0], channels[1], keys)
    telemetry.close()


def closed(open_: bool) -> system_config_service_pb2.UpdateSystemConfigRequest:
    return system_config_service_pb2.UpdateSystemConfigRequest(
        system_config=system_config_pb2.SystemConfig(name=f"systemConfigs/{SIGN_UP_OPEN.id}", toggle=open_),
        update_mask=FieldMask(paths=["toggle"]),
    )


async def may_register(channel: grpc.aio.Channel, email: str) -> bool:
    request = user_service_pb2.RegisterUserRequest(email=email, password=PASSWORD)
    try:
        await UserServiceStub(channel).RegisterUser(request)
    except grpc.aio.AioRpcError as error:
        if from_rpc_error(error).metadata != {"setting": SIGN_UP_OPEN.id}:
            raise
        return False
    return True


async def test_a_change_counts_in_the_other_process(two: Two) -> None:
    admin = two.keys.as_user(role="ADMIN")
    configs = SystemConfigServiceStub(two.first)
    changed = await configs.UpdateSystemConfig(closed(False), metadata=admin)
    assert (changed.toggle, changed.version) == (False, 2)

    async def closed_there() -> bool:
        return not await may_register(two.second, f"user{next(numbers)}@example.com")

    numbers = iter(range(1000))
    await eventually(closed_there)
    await configs.UpdateSystemConfig(closed(True), metadata=admin)

    async def open_there() -> bool:
        return await may_register(two.second, f"user{next(numbers)}@example.com")

    await eventually(open_there)


async def test_the_other_services_are_told(two: Two) -> None:
    await SystemConfigServiceStub(two.first).UpdateSystemConfig(closed(False), metadata=two.keys.as_user(role="ADMIN"))
    request = live_setting_service_pb2.GetLiveSettingsRequest()
    stub = LiveSettingServiceStub(two.second)
    response = await stub.GetLiveSettings(request, metadata=two.keys.as_service("recognition", "user"))
    assert [(one.tenant, one.config, one.toggle) for one in response.settings] == [("default", SIGN_UP_OPEN.id, False)]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetLiveSettings(request, metadata=two.keys.as_user(role="ADMIN"))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_announcement_is_seen_in_the_other_process(two: Two) -> None:
    admin = two.keys.as_user(role="ADMIN")
    made = await AnnouncementServiceStub(two.first).CreateAnnouncement(
        announcement_service_pb2.CreateAnnouncementRequest(title="hello"), metadata=admin
    )
    shown = await AnnouncementServiceStub(two.second).ListAnnouncements(
        announcement_service_pb2.ListAnnouncementsRequest()
    )
    assert list(shown.announcements) == [made]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await AnnouncementServiceStub(two.first).CreateAnnouncement(
            announcement_service_pb2.CreateAnnouncementRequest(title="no"), metadata=two.keys.as_user(role="PRO")
        )
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
