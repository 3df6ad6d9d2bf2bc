"""Answers browsers' preflight requests and marks answers that they may read."""

from typing import Final

from gateway_envoy.config import GatewayConfig, Json

NAME: Final = "envoy.filters.http.cors"
_TYPES: Final = "type.googleapis.com/envoy.extensions.filters.http.cors.v3"
_THIS_MACHINE: Final = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
_REQUEST_HEADERS: Final = (
    "authorization", "content-type", "accept", "accept-language", "grpc-timeout", "idempotency-key", "x-grpc-web",
    "x-user-agent", "traceparent", "tracestate",
)  # fmt: skip
EXPOSED: Final = ", ".join((
    "candela-trace-id", "retry-after", "www-authenticate", "allow", "grpc-status", "grpc-message",
    "grpc-status-details-bin",
))  # fmt: skip
"""The answer's headers that scripts may read."""


def build() -> Json:
    """Return the filter; what it allows stands in the virtual host's policy."""
    return {"name": NAME, "typed_config": {"@type": f"{_TYPES}.Cors"}}


def policy(config: GatewayConfig) -> Json:
    """Return the virtual host's policy. Tokens travel in a header, so cookies are never allowed."""
    exact = [{"exact": origin} for origin in config.cors_origins]
    return {
        "@type": f"{_TYPES}.CorsPolicy",
        "allow_origin_string_match": exact or [{"safe_regex": {"regex": _THIS_MACHINE}}],
        "allow_methods": "GET, POST, PUT, PATCH, DELETE",
        "allow_headers": ", ".join(_REQUEST_HEADERS),
        "expose_headers": EXPOSED,
        "max_age": "86400",
        "allow_credentials": False,
        "forward_not_matching_preflights": False,
    }
