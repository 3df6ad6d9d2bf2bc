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
DATABASE_CONNECTIONS: Final = Metric("database_connections_active", "Database connections that are checked out now.")
