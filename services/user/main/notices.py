"""How announcements and the settings of the running system are put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from candela.live.v1.live_setting_service_pb2_grpc import add_LiveSettingServiceServicer_to_server
from candela.user.v1.announcement_service_pb2_grpc import add_AnnouncementServiceServicer_to_server
from candela.user.v1.system_config_service_pb2_grpc import add_SystemConfigServiceServicer_to_server
from services.kit.background import repeating
from services.kit.bootstrap import Binding, Mesh
from services.kit.live import LiveChanges, LiveFollower
from services.kit.live_settings import FILE_SPACE, SESSION_LIFE, LiveValues
from services.kit.paging import PageTokens
from services.user.api.announcements import AnnouncementApi
from services.user.api.system_configs import LiveSettingApi, OwnLiveSource, SystemConfigApi
from services.user.settings import UserSettings
from services.user.usecases.announcements import Announcing
from services.user.usecases.common import Outside
from services.user.usecases.system_configs import SystemConfigs

_REPUBLISH_SECONDS = 0.5


def live_values(settings: UserSettings) -> LiveValues:
    """Return the settings of the running system, with the defaults that this process was started with."""
    return LiveValues(
        {SESSION_LIFE.id: settings.session_rules.refresh_life, FILE_SPACE.id: settings.user_file_space_bytes}
    )


@asynccontextmanager
async def noticing(
    mesh: Mesh[UserSettings], outside: Outside, live: LiveValues, page_tokens: PageTokens
) -> AsyncIterator[list[Binding]]:
    """Follow the settings in this process, see to it that all others can, and yield the servicers."""
    configs = SystemConfigs(outside, live, LiveChanges(mesh.redis))
    follower = LiveFollower(live, OwnLiveSource(configs), mesh.redis, mesh.clock)
    async with (
        follower.following(),
        repeating("republish settings", _REPUBLISH_SECONDS, configs.republish),
    ):
        yield [
            Binding(add_AnnouncementServiceServicer_to_server, AnnouncementApi(Announcing(outside), page_tokens)),
            Binding(add_SystemConfigServiceServicer_to_server, SystemConfigApi(configs, page_tokens)),
            Binding(add_LiveSettingServiceServicer_to_server, LiveSettingApi(configs)),
        ]
