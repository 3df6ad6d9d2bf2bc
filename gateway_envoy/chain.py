"""The order of the edge's filters, with the reason beside each.

A request passes the list from the top, its answer from the bottom. An answer that a filter or Envoy itself gives passes
all of them, too.
"""

from gateway_envoy.config import GatewayConfig, Json
from gateway_envoy.filters import (
    buffer,
    compressor,
    cors,
    grpc_web,
    jwt_authn,
    router,
    scripts,
    trace_header,
    transcoder,
)


def edge_chain(config: GatewayConfig) -> list[Json]:
    """Return the filters of the edge listener."""
    return [
        # First, so that its header is written last: it overwrites what a service said and is on every answer.
        trace_header.build(),
        # A preflight carries no token, so it is answered before one is asked for; refusals must be readable, too.
        cors.build(),
        # Outside of everything that changes bodies.
        compressor.build_gzip(config),
        compressor.build_brotli(config),
        # Sees what the transcoder, the token check and the router answered, before it is compressed.
        scripts.build(),
        # Inside of the errors' script, which so sees gRPC-Web callers as gRPC callers.
        grpc_web.build(),
        # Before the transcoder: nobody without a valid token makes us hold a body.
        jwt_authn.build(config),
        # Between token and transcoder, whose own limit does not count what it has already translated.
        buffer.build(config),
        # Last before the router: everything above works with the paths and bodies that the caller sees.
        transcoder.build(config),
        router.build(),
    ]


def internal_chain() -> list[Json]:
    """Return the filters of the internal listener: services speak gRPC and verify each other."""
    return [router.build()]
