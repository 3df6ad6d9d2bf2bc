"""The listener of the Prometheus page: Envoy's numbers, and the edge's under the names that all dashboards use."""

from typing import Final

from gateway_envoy.clusters import ADMIN
from gateway_envoy.config import Address, GatewayConfig, Json, MeshTls
from gateway_envoy.filters import router, scripts
from gateway_envoy.limits import MIB

PATH: Final = "/metrics"
_TYPES: Final = "type.googleapis.com/envoy.extensions"
_MANAGER: Final = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TLS: Final = f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"
_ADMIN_PAGE: Final = "/stats/prometheus?usedonly"
# The script needs the whole page; 400 routes with a dozen outcomes each make 2 MiB of it.
_PAGE_BYTES: Final = 16 * MIB
_CONNECTIONS_IDLE: Final = "120s"


def metrics_listener(config: GatewayConfig) -> list[Json]:
    """Return the listener; none without an address."""
    if config.metrics is None:
        return []
    manager: Json = {
        "@type": _MANAGER,
        "stat_prefix": "metrics",
        "codec_type": "AUTO",
        "server_name": "candela",
        "route_config": _routes(),
        "http_filters": [scripts.own("metrics.lua"), router.build()],
        "common_http_protocol_options": {"idle_timeout": _CONNECTIONS_IDLE},
    }
    return [_listener(config.metrics, manager, config.mesh_tls)]


def _routes() -> Json:
    """Return the page's route, and a 404 for everything else that the admin page could do."""
    page = {
        "match": {"path": PATH, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
        "route": {"cluster": ADMIN, "prefix_rewrite": _ADMIN_PAGE, "timeout": "5s"},
    }
    elsewhere = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": f"the page is {PATH}\n"}},
    }
    return {"name": "metrics", "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [page, elsewhere]}]}


def _listener(address: Address, manager: Json, mesh_tls: MeshTls | None) -> Json:
    chain: Json = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if mesh_tls is not None and mesh_tls.own is not None:
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": _mutual(mesh_tls)}
    return {
        "name": "metrics",
        "address": address.envoy(),
        "per_connection_buffer_limit_bytes": _PAGE_BYTES,
        # What it costs to look must not be refused when there is most to see.
        "ignore_global_conn_limit": True,
        "filter_chains": [chain],
    }


def _mutual(mesh_tls: MeshTls) -> Json:
    """Return TLS that asks whoever reads the page for a certificate of the mesh."""
    certificates = [mesh_tls.own.envoy()] if mesh_tls.own else []
    return {
        "@type": _TLS,
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": certificates,
            "validation_context": {"trusted_ca": {"filename": str(mesh_tls.authorities)}},
        },
    }
