"""The dashboard of the gateway: what is called, and what stands behind it."""

from typing import Final

from observability import names
from observability.dashboards.panels import Board, Panel, Query, Row
from observability.dashboards.queries import (
    EDGE,
    FAILED,
    REFUSED,
    quantile,
    rate,
)

_CLUSTER: Final = "{{envoy_cluster_name}}"
_ROUTE: Final = "{{method}} {{endpoint}}"
_ROUTE_LABELS: Final = "method, endpoint"
_HEAP: Final = "envoy_overload_envoy_resource_monitors_fixed_heap_pressure / 100"


def _clusters(expression: str) -> str:
    return f"sum by (envoy_cluster_name) ({expression})"


_ENDPOINT: Final = 'endpoint=~"$endpoint"'
GATEWAY: Final = Board(
    "candela-gateway",
    "Candela: gateway",
    (
        Row(
            "By route",
            (
                Panel(
                    "Requests",
                    (Query(f"topk(12, {rate(names.HTTP_REQUESTS, _ENDPOINT, _ROUTE_LABELS)})", _ROUTE),),
                    "reqps",
                    width=12,
                ),
                Panel(
                    "p95",
                    (
                        Query(
                            f"topk(12, {quantile(0.95, names.HTTP_DURATION, _ENDPOINT, _ROUTE_LABELS)})",
                            _ROUTE,
                        ),
                    ),
                    "s",
                    width=12,
                ),
                Panel(
                    "Failed (5xx)",
                    (Query(rate(names.HTTP_REQUESTS, f"{_ENDPOINT},{FAILED}", _ROUTE_LABELS), _ROUTE),),
                    "reqps",
                    width=12,
                ),
                Panel(
                    "Refused (4xx)",
                    (
                        Query(
                            rate(names.HTTP_REQUESTS, f"{_ENDPOINT},{REFUSED}", "endpoint, status_code"),
                            "{{status_code}} {{endpoint}}",
                        ),
                    ),
                    "reqps",
                    width=12,
                ),
                Panel(
                    "Now",
                    (Query(rate(names.HTTP_REQUESTS, _ENDPOINT, "method, endpoint, status_code"), instant=True),),
                    "reqps",
                    "table",
                    24,
                ),
            ),
        ),
        Row(
            "Connections and memory",
            (
                Panel("Connections", (Query(f"envoy_http_downstream_cx_active{{{EDGE}}}", "{{process}}"),)),
                Panel("Requests under way", (Query(f"envoy_http_downstream_rq_active{{{EDGE}}}", "{{process}}"),)),
                Panel(
                    "Bytes",
                    (
                        Query(f"sum(rate(envoy_http_downstream_cx_rx_bytes_total{{{EDGE}}}[$__rate_interval]))", "in"),
                        Query(f"sum(rate(envoy_http_downstream_cx_tx_bytes_total{{{EDGE}}}[$__rate_interval]))", "out"),
                    ),
                    "Bps",
                ),
                Panel("Memory", (Query("envoy_server_memory_physical_size", "{{process}}"),), "bytes"),
                Panel(
                    "Heap in use",
                    (Query(_HEAP, "{{process}}"),),
                    "percentunit",
                    says="From 90 % on new requests are refused.",
                    red_from=0.9,
                ),
            ),
        ),
        Row(
            "Servers behind it",
            (
                Panel(
                    "Healthy",
                    (
                        Query(
                            " / ".join(_clusters(f"envoy_cluster_membership_{what}") for what in ("healthy", "total")),
                            _CLUSTER,
                        ),
                    ),
                    "percentunit",
                ),
                Panel(
                    "Requests",
                    (
                        Query(
                            _clusters("rate(envoy_cluster_upstream_rq_total[$__rate_interval])"),
                            _CLUSTER,
                        ),
                    ),
                    "reqps",
                ),
                Panel(
                    "p95",
                    (
                        Query(
                            "histogram_quantile(0.95, sum by (le, envoy_cluster_name) "
                            "(rate(envoy_cluster_upstream_rq_time_bucket[$__rate_interval])))",
                            _CLUSTER,
                        ),
                    ),
                    "ms",
                ),
                Panel("Under way", (Query(_clusters("envoy_cluster_upstream_rq_active"), _CLUSTER),)),
                Panel("Connections", (Query(_clusters("envoy_cluster_upstream_cx_active"), _CLUSTER),)),
                Panel(
                    "Tried again, and refused by the circuit breaker",
                    (
                        Query(
                            _clusters("rate(envoy_cluster_upstream_rq_retry[$__rate_interval])"),
                            "again {{envoy_cluster_name}}",
                        ),
                        Query(
                            _clusters("rate(envoy_cluster_upstream_rq_pending_overflow[$__rate_interval])"),
                            "refused {{envoy_cluster_name}}",
                        ),
                    ),
                    "reqps",
                ),
            ),
        ),
    ),
    (("endpoint", f"label_values({names.HTTP_REQUESTS.name}, endpoint)"),),
)
