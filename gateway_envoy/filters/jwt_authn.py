"""Refuses user tokens that do not hold before anything is buffered or forwarded.

The services verify every call again and are the authority: here only a signature, issuer, audience and time are looked
at. API keys (`ck_…`) are not tokens and pass. The token travels on untouched.
"""

from typing import Final

from gateway_envoy.config import GatewayConfig, Json

NAME: Final = "envoy.filters.http.jwt_authn"
METADATA: Final = "token"
_TYPES: Final = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3"
_USER: Final = "user"
_API_KEY: Final = "(?i:bearer) +ck_.*"
_SKEW_SECONDS: Final = 5  # 0 would mean Envoy's default of a minute, a fifteenth of a token's life


def build(config: GatewayConfig) -> Json:
    """Return the filter: a token for every route, unless the route says `off` or an API key is sent."""
    provider = {
        "issuer": "candela",
        "audiences": ["candela"],
        "local_jwks": {"filename": str(config.jwks)},
        "forward": True,
        # Only this header: Envoy would also take a token from the query, where logs and histories keep it.
        # The scheme's case does not matter (RFC 9110).
        "from_headers": [{"name": "authorization", "value_prefix": scheme} for scheme in ("Bearer ", "bearer ")],
        "payload_in_metadata": METADATA,
        "clock_skew_seconds": _SKEW_SECONDS,
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    key = {"name": "authorization", "string_match": {"safe_regex": {"regex": _API_KEY}}}
    return {
        "name": NAME,
        "typed_config": {
            "@type": f"{_TYPES}.JwtAuthentication",
            "providers": {_USER: provider},
            "bypass_cors_preflight": True,
            "rules": [
                {"match": {"prefix": "/", "headers": [key]}},
                {"match": {"prefix": "/"}, "requires": {"provider_name": _USER}},
            ],
        },
    }


def off() -> Json:
    """Return what a route says that anyone may call: a token that is sent is not looked at."""
    return {"@type": f"{_TYPES}.PerRouteConfig", "disabled": True}
