"""The two listeners: the edge for everybody, the internal one for the services of the mesh."""

from typing import Final

from gateway_envoy import local_replies
from gateway_envoy.access_log import access_log
from gateway_envoy.chain import edge_chain, internal_chain
from gateway_envoy.config import Address, GatewayConfig, Json
from gateway_envoy.http_metrics import counting
from gateway_envoy.internal_routes import internal_route_configuration
from gateway_envoy.limits import MIB, Limits, duration
from gateway_envoy.routes import route_configuration
from gateway_envoy.tracing import tracing

_FILTERS: Final = "type.googleapis.com/envoy.extensions.filters.network"
_MANAGER: Final = f"{_FILTERS}.http_connection_manager.v3.HttpConnectionManager"
_MUTATION: Final = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_TLS: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"

# Headers by which somebody outside might try to be somebody inside. Only `authorization` carries identity, so none of
# them is needed; every `x-` header goes, the ones that Envoy itself sets come back with its own values.
STRIPPED_PREFIXES: Final = ("x-", "candela-", "grpc-internal-", "b3")
STRIPPED_HEADERS: Final = (
    "baggage", "forwarded", "grpc-tags-bin", "grpc-trace-bin", "tenant", "uber-trace-id", "user", "via",
)  # fmt: skip


def edge_listener(config: GatewayConfig) -> Json:
    """Return the listener for the outside: strict about what it takes, bounded in what it holds."""
    limits = config.limits
    manager = {
        **_manager("edge", config),
        "route_config": route_configuration(config),
        "http_filters": edge_chain(config),
        "local_reply_config": local_replies.configuration(),
        "early_header_mutation_extensions": [_strip_headers()],
        "stream_idle_timeout": duration(limits.unary + limits.unary_slack),
        "request_headers_timeout": duration(limits.request_headers),
        "delayed_close_timeout": "1s",
        "max_request_headers_kb": limits.headers // 1024,
        "common_http_protocol_options": {
            "idle_timeout": duration(limits.connection_idle),
            "max_headers_count": limits.header_count,
            # `x_user_id` and `x-user-id` are one name to some servers.
            "headers_with_underscores_action": "DROP_HEADER",
        },
        "http2_protocol_options": _http2(limits),
        "normalize_path": True,
        # `//` is a path of its own, which no method has; an escaped slash means different things to different servers.
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
    }
    return _listener("edge", config.edge, manager, limits) | {"filter_chains": [_filter_chain(manager, config)]}


def internal_listener(config: GatewayConfig) -> Json:
    """Return the listener for calls between services: gRPC only, tokens travel untouched, callees verify."""
    limits = config.limits
    manager = {
        **_manager("internal", config),
        "route_config": internal_route_configuration(config),
        "http_filters": internal_chain(),
        "stream_idle_timeout": duration(limits.stream_idle),
        "common_http_protocol_options": {"idle_timeout": duration(limits.connection_idle)},
        "http2_protocol_options": {**_http2(limits), "max_concurrent_streams": limits.upstream_requests},
    }
    return _listener("internal", config.internal, manager, limits)


def _manager(name: str, config: GatewayConfig) -> Json:
    """Return what both connection managers share. The supervisor watches statistics under these two names."""
    return {
        "@type": _MANAGER,
        "stat_prefix": name,
        "codec_type": "AUTO",
        "server_name": "candela",
        "use_remote_address": True,
        "skip_xff_append": name == "internal",
        "internal_address_config": {"unix_sockets": False},
        "generate_request_id": True,
        "access_log": [access_log(config, name), *(counting() if name == "edge" else ())],
        **tracing(config),
    }


def _listener(name: str, address: Address, manager: Json, limits: Limits) -> Json:
    return {
        "name": name,
        "address": address.envoy(),
        # Several Envoys may listen here at once: the kernel deals connections out among those that are alive.
        "enable_reuse_port": True,
        "per_connection_buffer_limit_bytes": limits.buffer,
        "filter_chains": [{"filters": [_filter(manager)]}],
    }


def _filter(manager: Json) -> Json:
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _filter_chain(manager: Json, config: GatewayConfig) -> Json:
    if config.tls is None:
        return {"filters": [_filter(manager)]}
    context = {
        "@type": _TLS,
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [config.tls.envoy()],
            "alpn_protocols": ["h2", "http/1.1"],
        },
    }
    return {
        "filters": [_filter(manager)],
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
        "transport_socket_connect_timeout": duration(config.limits.request_headers),
    }


def _http2(limits: Limits) -> Json:
    return {
        "max_concurrent_streams": limits.streams_per_connection,
        "initial_stream_window_size": limits.buffer,
        "initial_connection_window_size": MIB,
        # Finds callers that are gone without a word, so that their work stops.
        "connection_keepalive": {"interval": "30s", "timeout": "10s"},
    }


def _strip_headers() -> Json:
    prefixes = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in STRIPPED_PREFIXES]
    names = [{"remove": name} for name in STRIPPED_HEADERS]
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {"@type": _MUTATION, "mutations": [*prefixes, *names]},
    }
