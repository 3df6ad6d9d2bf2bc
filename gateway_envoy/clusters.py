"""Clusters: the servers behind the gateway, the trace receiver, and Envoy's own admin page for health checks."""

import ipaddress
from typing import Final

from gateway_envoy.config import Address, GatewayConfig, Json, Upstream
from gateway_envoy.limits import MIB, Limits, duration

TRACES: Final = "otlp"
ADMIN: Final = "admin"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS_SOCKET: Final = "envoy.transport_sockets.tls"
_PREDICATES: Final = "type.googleapis.com/envoy.extensions.retry.host"
_TLS: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"

ELSEWHERE: Final[Json] = {
    # How a retry is made: on another server than the one that failed, where there is another, and soon.
    "num_retries": 2,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {"@type": f"{_PREDICATES}.previous_hosts.v3.PreviousHostsPredicate"},
        }
    ],
    "host_selection_retry_max_attempts": 3,
    "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.1s"},
}


def clusters(config: GatewayConfig) -> list[Json]:
    """Return all clusters."""
    servers = [{**_server(upstream, config.limits), **_mesh_tls(config)} for upstream in config.upstreams]
    admin = {**_base(ADMIN, (config.admin,)), "connect_timeout": duration(config.limits.connect)}
    return [*servers, *_traces(config), admin]


def _server(upstream: Upstream, limits: Limits) -> Json:
    return {
        **_base(upstream.name, upstream.endpoints),
        "connect_timeout": duration(limits.connect),
        "per_connection_buffer_limit_bytes": limits.buffer,
        "typed_extension_protocol_options": _http2(limits),
        "circuit_breakers": {"thresholds": [_threshold(limits)]},
        "outlier_detection": _OUTLIERS,
        "health_checks": [_health_check(limits)],
        # A server that fails its checks gets nothing, even if it is the only one: the answer is a quick 503.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "close_connections_on_host_health_failure": True,
        # Not HTTP/2 pings: gRPC servers end connections that ping more often than they like. The health checks find a
        # dead server, TCP's own probes a dead path.
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 30, "keepalive_interval": 5}
        },
    }


_OUTLIERS: Final[Json] = {
    # Only what the transport says counts: an INTERNAL is one caller's bad luck, not a reason to drop a server.
    "consecutive_gateway_failure": 5,
    "enforcing_consecutive_gateway_failure": 100,
    # A server that refuses connections or breaks them is left out long before its health check says so.
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 3,
    "enforcing_consecutive_local_origin_failure": 100,
    "enforcing_local_origin_success_rate": 0,
    "enforcing_consecutive_5xx": 0,
    "enforcing_success_rate": 0,
    "interval": "5s",
    "base_ejection_time": "5s",
    # Of one server none, of two one.
    "max_ejection_percent": 50,
}


def _base(name: str, endpoints: tuple[Address, ...]) -> Json:
    """Return name and endpoints; addresses are resolved by DNS when one of them is a name."""
    hosts = [{"endpoint": {"address": endpoint.envoy()}} for endpoint in endpoints]
    by_name = not all(_is_ip(endpoint.host) for endpoint in endpoints)
    return {
        "name": name,
        # A name that has both families would be two servers; many listen on one of them only, mostly this one.
        **({"type": "STRICT_DNS", "dns_lookup_family": "V4_PREFERRED"} if by_name else {"type": "STATIC"}),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]},
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _http2(limits: Limits) -> Json:
    """Return HTTP/2 with windows that carry a large picture without stalls and bound what a connection may hold."""
    http2 = {"initial_stream_window_size": limits.buffer, "initial_connection_window_size": MIB}
    return {
        _HTTP_OPTIONS: {
            "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": http2},
        }
    }


def _threshold(limits: Limits) -> Json:
    return {
        "max_connections": 1024,
        "max_pending_requests": limits.upstream_requests,
        "max_requests": limits.upstream_requests,
        # Retries are at most a fifth of the requests under way: they must not make an overload worse.
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 3},
    }


def _health_check(limits: Limits) -> Json:
    """Return checks so frequent that a restarted server is used again within a second, traffic or not."""
    return {
        "timeout": "1s",
        "interval": duration(limits.health_interval),
        "no_traffic_interval": duration(limits.health_interval),
        "unhealthy_interval": duration(limits.health_interval_down),
        # After one bad answer the second is asked for at once, so that a server that drains is soon left alone.
        "unhealthy_edge_interval": duration(limits.health_interval_down),
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "grpc_health_check": {},
    }


def _mesh_tls(config: GatewayConfig) -> Json:
    """Return mutual TLS to the services; each must show a certificate for the DNS name it is reached by."""
    if config.mesh_tls is None:
        return {}
    own = {"tls_certificates": [config.mesh_tls.own.envoy()]} if config.mesh_tls.own else {}
    context = {
        "@type": _TLS,
        "auto_host_sni": True,
        "auto_sni_san_validation": True,
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["h2"],
            "validation_context": {"trusted_ca": {"filename": str(config.mesh_tls.authorities)}},
            **own,
        },
    }
    return {"transport_socket": {"name": _TLS_SOCKET, "typed_config": context}}


def _traces(config: GatewayConfig) -> list[Json]:
    if config.traces is None:
        return []
    address = config.traces.address
    tls: Json = {}
    if config.traces.tls:
        context = {"@type": _TLS, "sni": address.host, "common_tls_context": _SYSTEM_TRUST}
        tls = {"transport_socket": {"name": _TLS_SOCKET, "typed_config": context}}
    return [
        {
            **_base(TRACES, (address,)),
            "connect_timeout": duration(config.limits.connect),
            "typed_extension_protocol_options": _http2(config.limits),
            **tls,
        }
    ]


_SYSTEM_TRUST: Final[Json] = {"alpn_protocols": ["h2"], "validation_context": {"system_root_certs": {}}}
