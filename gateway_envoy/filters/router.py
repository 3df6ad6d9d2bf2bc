"""Sends the request to the cluster of its route."""

from typing import Final

from gateway_envoy.config import Json

NAME: Final = "envoy.filters.http.router"


def build() -> Json:
    """Return the filter. Envoy's own headers stay inside: callers have no use for them."""
    return {
        "name": NAME,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
        },
    }
