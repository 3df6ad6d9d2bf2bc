"""The contract of the golden configuration: one method of every kind that the builders tell apart.

It stands still while the real contract grows, so that a change of the golden file is a change of a builder, and a new
RPC is none. What the real contract makes of it is tested against a real Envoy instead.
"""

from typing import Final

from gateway_envoy.contract import Access, HttpRule, Method


def _method(name: str, *rules: str, access: Access = Access.AUTHENTICATED, **kinds: bool) -> Method:
    service, _, method = name.rpartition(".")
    return Method(
        service=f"candela.{service}",
        name=method,
        server=service.partition(".")[0],
        access=access,
        rules=tuple(HttpRule(*rule.split(" ", 1)) for rule in rules),
        streams_in=kinds.get("streams_in", False),
        streams_out=kinds.get("streams_out", False),
        idempotent=kinds.get("idempotent", False) or kinds.get("read_only", False),
        read_only=kinds.get("read_only", False),
        takes_files=kinds.get("takes_files", False),
    )


METHODS: Final = (
    _method("user.v1.LampService.CreateLamp", "POST /v1/lamps", access=Access.PUBLIC),
    _method("user.v1.LampService.ListLamps", "GET /v1/lamps", read_only=True),
    _method("user.v1.LampService.UpdateLamp", "PATCH /v1/{lamp.name=lamps/*}", idempotent=True),
    _method("user.v1.LampService.LightLamp", "POST /v1/{name=lamps/*}:light", idempotent=True),
    _method("user.v1.LampService.WatchLamp", "GET /v1/{name=lamps/*}:watch", read_only=True, streams_out=True),
    _method("recognition.v1.PhotoService.ReadPhoto", "POST /v1/photos:read", idempotent=True, takes_files=True),
    _method("recognition.v1.PhotoService.ReadVideo", streams_in=True, streams_out=True, takes_files=True),
    _method("recognition.v1.PhotoService.Chat", "POST /openai/v1/chat", "GET /openai/v1/chat/{chat}"),
)
"""What the outside may call."""

MESH_METHODS: Final = (
    *METHODS,
    _method("inference.v1.LightService.Measure", access=Access.SERVICE, read_only=True),
    _method("inference.v1.LightService.MeasureAll", access=Access.SERVICE, streams_in=True, streams_out=True),
)
"""What the services call among themselves, too."""
