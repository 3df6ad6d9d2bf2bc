"""candela.user.v1.SystemConfigService, and the same settings for the other services and for this very process."""

from collections.abc import Mapping
from typing import Any

from candela.live.v1 import live_setting_service_pb2, live_setting_service_pb2_grpc
from candela.user.v1 import system_config_pb2, system_config_service_pb2, system_config_service_pb2_grpc
from services.kit.call import current_call
from services.kit.idempotency import Replies
from services.kit.live_service import put_value, value_of
from services.kit.live_settings import CATALOGUE, Value
from services.kit.paging import Listing, PageTokens
from services.user.api.mapping import id_of, timestamp
from services.user.usecases.system_configs import ConfigChange, ConfigView, SystemConfigs


class SystemConfigApi(system_config_service_pb2_grpc.SystemConfigServiceServicer):
    """Settings of the running system, for admins."""

    def __init__(self, configs: SystemConfigs, page_tokens: PageTokens) -> None:
        self._configs = configs
        self._page_tokens = page_tokens
        self._replies = Replies()

    async def ListSystemConfigs(
        self, request: system_config_service_pb2.ListSystemConfigsRequest, context: Any
    ) -> system_config_service_pb2.ListSystemConfigsResponse:
        call = current_call()
        listing = Listing("system configs", call.caller.tenant, call.caller.user)
        wanted = self._page_tokens.read(request.page_size, request.page_token, listing)
        page = await self._configs.list(call, wanted)
        return system_config_service_pb2.ListSystemConfigsResponse(
            system_configs=[config_message(view) for view in page.items],
            next_page_token=self._page_tokens.write(page.next, listing),
        )

    async def GetSystemConfig(
        self, request: system_config_service_pb2.GetSystemConfigRequest, context: Any
    ) -> system_config_pb2.SystemConfig:
        return config_message(await self._configs.get(current_call(), id_of(request.name)))

    async def ListSystemConfigVersions(
        self, request: system_config_service_pb2.ListSystemConfigVersionsRequest, context: Any
    ) -> system_config_service_pb2.ListSystemConfigVersionsResponse:
        call = current_call()
        listing = Listing("system config versions", call.caller.tenant, call.caller.user, filter=request.name)
        wanted = self._page_tokens.read(request.page_size, request.page_token, listing)
        page = await self._configs.versions(call, id_of(request.name), wanted)
        return system_config_service_pb2.ListSystemConfigVersionsResponse(
            system_configs=[config_message(view) for view in page.items],
            next_page_token=self._page_tokens.write(page.next, listing),
        )

    async def UpdateSystemConfig(
        self, request: system_config_service_pb2.UpdateSystemConfigRequest, context: Any
    ) -> system_config_pb2.SystemConfig:
        given = request.system_config
        change = ConfigChange(value_of(given), tuple(request.update_mask.paths), given.etag)
        return await self._replies.run(
            current_call(),
            system_config_pb2.SystemConfig,
            lambda call: self._configs.update(call, id_of(given.name), change),
            config_message,
        )


class LiveSettingApi(live_setting_service_pb2_grpc.LiveSettingServiceServicer):
    """For the other services of the mesh only."""

    def __init__(self, configs: SystemConfigs) -> None:
        self._configs = configs

    async def GetLiveSettings(
        self, request: live_setting_service_pb2.GetLiveSettingsRequest, context: Any
    ) -> live_setting_service_pb2.GetLiveSettingsResponse:
        response = live_setting_service_pb2.GetLiveSettingsResponse()
        for (tenant, config), value in (await self._configs.effective()).items():
            put_value(response.settings.add(tenant=tenant, config=config), CATALOGUE[config].kind, value)
        return response


class OwnLiveSource:
    """What the kit asks the user service, answered in the user service itself."""

    def __init__(self, configs: SystemConfigs) -> None:
        self._configs = configs

    async def fetch(self) -> Mapping[tuple[str, str], Value]:
        return await self._configs.effective()


def config_message(view: ConfigView) -> system_config_pb2.SystemConfig:
    """Return a setting as admins see it."""
    version = view.version
    setting = CATALOGUE[version.config]
    message = system_config_pb2.SystemConfig(
        name=f"systemConfigs/{version.config}",
        description=setting.description,
        version=version.version,
        update_user=f"users/{view.user}" if view.user else "",
        etag=version.etag,
    )
    put_value(message, setting.kind, version.value)
    if version.time is not None:
        message.update_time.CopyFrom(timestamp(version.time))
    return message
