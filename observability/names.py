"""The names of spans, attributes and metrics, as data: dashboards, alerts and tests read them from here.

Names follow OpenTelemetry's semantic conventions for RPC. Prometheus names end in their unit.
"""

from dataclasses import dataclass
from typing import Final

# --- resource
SERVICE_NAME: Final = "service.name"
SERVICE_NAMESPACE: Final = "service.namespace"
SERVICE_INSTANCE: Final = "service.instance.id"
NAMESPACE: Final = "candela"

# --- spans of calls are named `package.Service/Method`
RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS: Final = "rpc.response.status_code"
SERVER_ADDRESS: Final = "server.address"
ERROR_TYPE: Final = "error.type"
REQUEST_ID: Final = "candela.request_id"
RECORD_ALWAYS: Final = "candela.record_always"  # set on a span that is recorded although its trace is not sampled


@dataclass(frozen=True, slots=True)
class Metric:
    """A Prometheus metric: its name, what it counts, its labels and, for a histogram, its bucket bounds in its unit."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# --- the edge: made by Envoy (gateway_envoy/http_metrics.py), every request, whoever answered it
HTTP_REQUESTS: Final = Metric(
    "http_requests_total",
    "Requests that ended at the edge, by the HTTP status of the answer.",
    ("method", "endpoint", "status_code"),
)
HTTP_DURATION: Final = Metric(
    "http_request_duration_seconds",
    "Time from a request's arrival at the edge to its end.",
    ("method", "endpoint"),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)

# --- services
RPC_REQUESTS: Final = Metric(
    "rpc_server_requests_total", "Calls answered, by the code of the answer.", ("service", "method", "code")
)
RPC_DURATION: Final = Metric(
    "rpc_server_duration_seconds", "Time from a call's arrival to its end.", ("service", "method"), _LATENCY_SECONDS
)
RPC_IN_FLIGHT: Final = Metric("rpc_server_in_flight", "Calls being handled now.", ("service",))
CLIENT_REQUESTS: Final = Metric(
    "rpc_client_requests_total",
    "Calls made to other services, by the code of the answer.",
    ("service", "method", "code"),
)
CLIENT_DURATION: Final = Metric(
    "rpc_client_duration_seconds", "Time that calls to other services took.", ("service", "method"), _LATENCY_SECONDS
)
REVOCATIONS_AGE: Final = Metric(
    "revocations_age_seconds", "Time since the revoked sessions were last read from Redis; -1 before the first time."
)
ACTIVE_USERS: Final = Metric(
    "active_users_total", "Users with a living session that was refreshed within 24 hours, as the database knows them."
)
REDIS_MEMORY: Final = Metric(
    "redis_memory_usage_bytes", "Memory that Redis uses, of all masters of a cluster together; NaN while it is away."
)
KEY_LOCAL_COUNTS: Final = Metric(
    "api_key_local_counts_total", "Calls of API keys counted in this process only, because Redis was away."
)
DATABASE_CONNECTIONS: Final = Metric("database_connections_active", "Database connections that are checked out now.")
REPLICA_FALLBACKS: Final = Metric(
    "database_replica_fallbacks_total", "Reads that went to the primary because the replica did not answer."
)

# --- the supervisor of one machine; on Kubernetes its pages are the kubelet's and node exporter's
PROCESS_UP: Final = Metric("candela_process_up", "1 when the process is healthy.", ("process",))
PROCESS_RESTARTS: Final = Metric("candela_process_restarts_total", "Restarts since the start.", ("process",))
DISK_FREE: Final = Metric("candela_data_free_bytes", "Free bytes on the disk of the data directory.")
DISK_SIZE: Final = Metric("candela_data_disk_bytes", "Size of the disk of the data directory.")
SPANS: Final = Metric("candela_trace_spans_total", "Spans kept.")
SPANS_REFUSED: Final = Metric("candela_trace_spans_refused_total", "Spans refused.")
SPANS_LOST: Final = Metric("candela_trace_spans_lost_total", "Spans the disk had no room for.")

# What dashboards and alerts use of Envoy's own page.
ENVOY: Final = frozenset(
    {
        "envoy_cluster_membership_healthy",
        "envoy_cluster_membership_total",
        "envoy_cluster_upstream_cx_active",
        "envoy_cluster_upstream_rq_active",
        "envoy_cluster_upstream_rq_pending_overflow",
        "envoy_cluster_upstream_rq_retry",
        "envoy_cluster_upstream_rq_time_bucket",
        "envoy_cluster_upstream_rq_total",
        "envoy_http_downstream_cx_active",
        "envoy_http_downstream_cx_rx_bytes_total",
        "envoy_http_downstream_cx_tx_bytes_total",
        "envoy_http_downstream_rq_active",
        "envoy_overload_envoy_resource_monitors_fixed_heap_pressure",
        "envoy_server_memory_physical_size",
    }
)
