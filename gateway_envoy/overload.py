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
_MIB_AS_POWER_OF_TWO: Final = 20


def overload_manager(limits: Limits) -> Json:
    """Return the overload manager: the fuller the heap, the harder the measures."""
    return {
        # Short: what arrives between two looks is what the heap may overshoot by.
        "refresh_interval": "0.05s",
        # Requests that buffer a MiB or more are accounted for, so that the largest can be found.
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _MIB_AS_POWER_OF_TWO},
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
            _action(
                "envoy.overload_actions.reset_high_memory_stream",
                {"scaled": {"scaling_threshold": 0.8, "saturation_threshold": 0.95}},
            ),
            _action("envoy.overload_actions.disable_http_keepalive", {"threshold": {"value": 0.9}}),
            _action("envoy.overload_actions.stop_accepting_requests", {"threshold": {"value": 0.9}}),
        ],
        "loadshed_points": [
            _action("envoy.load_shed_points.http1_server_abort_dispatch", {"threshold": {"value": 0.95}})
        ],
    }


def _action(name: str, trigger: Json) -> Json:
    return {"name": name, "triggers": [{"name": _HEAP, **trigger}]}
