"""Lets browsers speak gRPC: turns gRPC-Web into gRPC and back."""

from typing import Final

from gateway_envoy.config import Json

NAME: Final = "envoy.filters.http.grpc_web"


def build() -> Json:
    """Return the filter."""
    return {
        "name": NAME,
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"},
    }
