"""What the gateway does when memory or connections run out: refuse, never fall over."""

from typing import Final

from gateway_envoy.config import Json
from gateway_envoy.limits import Limits

_HEAP: Final = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS: Final = "envoy.resource_monitors.global_downstream_max_connections"
_HEAP_TYPE: Final = "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"
_CONNECTIONS_TYPE: Final = (
    "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
)


def overload_manager(limits: Limits) -> Json:
    """Return the overload manager: the fuller the heap, the harder the measures.

    Streams that hold much are not reset (`reset_high_memory_stream`): over HTTP/1.1 Envoy leaves the connection of such
    a stream open and its caller waiting for ever (envoyproxy/envoy issue 29581). At the load shed point what is
    still arriving over HTTP/1.1 is answered 503 and closed instead. Its counterpart for HTTP/2
    (`http2_server_go_away_and_close_on_dispatch`) closes connections of HTTP/1.1, too, and without an answer.
    """
    return {
        # Short: what arrives between two looks is what the heap may overshoot by.
        "refresh_interval": "0.05s",
        "resource_monitors": [
            {"name": _HEAP, "typed_config": {"@type": _HEAP_TYPE, "max_heap_size_bytes": limits.heap}},
            {
                "name": _CONNECTIONS,
                "typed_config": {
                    "@type": _CONNECTIONS_TYPE,
                    "max_active_downstream_connections": limits.connections,
                },
            },
        ],
        "actions": [
            _action("envoy.overload_actions.shrink_heap", {"threshold": {"value": 0.5}}),
            _action("envoy.overload_actions.disable_http_keepalive", {"threshold": {"value": 0.9}}),
            _action("envoy.overload_actions.stop_accepting_requests", {"threshold": {"value": 0.9}}),
        ],
        "loadshed_points": [
            _action("envoy.load_shed_points.http1_server_abort_dispatch", {"threshold": {"value": 0.95}}),
        ],
    }


def _action(name: str, trigger: Json) -> Json:
    return {"name": name, "triggers": [{"name": _HEAP, **trigger}]}
