"""Settings over candela.live.v1.LiveSettingService, and values as the contract writes them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import grpc

from candela.live.v1 import live_setting_service_pb2
from candela.live.v1.live_setting_service_pb2_grpc import LiveSettingServiceStub
from services.kit.live_settings import Kind, Value

_SECONDS = 2.0
_Request = live_setting_service_pb2.GetLiveSettingsRequest


class LiveServiceSource:
    """Asks the user service over a channel of the kit, whose errors are ours."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = LiveSettingServiceStub(channel)

    async def fetch(self) -> Mapping[tuple[str, str], Value]:
        response = await self._stub.GetLiveSettings(_Request(), timeout=_SECONDS)
        found = {(one.tenant, one.config): value_of(one) for one in response.settings}
        return {place: value for place, value in found.items() if value is not None}


def value_of(message: Any) -> Value | None:
    """Return what stands in a message's `value`, None when nothing does."""
    kind: str | None = message.WhichOneof("value")
    if kind is None:
        return None
    value: Value = message.duration.ToTimedelta() if kind == Kind.DURATION.value else getattr(message, kind)
    return value


def put_value(message: Any, kind: Kind, value: Value) -> None:
    """Write a value into a message's `value`."""
    if isinstance(value, timedelta):
        message.duration.FromTimedelta(value)
    else:
        setattr(message, kind.value, value)
