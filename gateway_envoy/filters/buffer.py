"""Bounds the bodies of JSON requests, also of those that do not say how long they are."""

from typing import Final

from gateway_envoy.config import GatewayConfig, Json

NAME: Final = "envoy.filters.http.buffer"
_TYPES: Final = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3"


def build(config: GatewayConfig) -> Json:
    """Return the filter, off unless a route gives its limit: gRPC messages stream through."""
    return {
        "name": NAME,
        "disabled": True,
        "typed_config": {"@type": f"{_TYPES}.Buffer", "max_request_bytes": config.limits.body},
    }


def limit(size: int) -> Json:
    """Return what a route says whose bodies have at most `size` bytes."""
    return {"@type": f"{_TYPES}.BufferPerRoute", "buffer": {"max_request_bytes": size}}
