"""Traces: one server span a request, in W3C context, to the mesh's OTLP receiver."""

from typing import Final

from gateway_envoy.clusters import TRACES
from gateway_envoy.config import GatewayConfig, Json

SERVICE_NAME: Final = "gateway"
_TYPE: Final = "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig"


def tracing(config: GatewayConfig) -> Json:
    """Return the tracing part of a connection manager; none without a receiver."""
    if config.traces is None:
        return {}
    provider = {
        "@type": _TYPE,
        "service_name": SERVICE_NAME,
        "grpc_service": {"envoy_grpc": {"cluster_name": TRACES}, "timeout": "5s"},
    }
    percent = {"value": config.sampling * 100}
    return {
        "tracing": {
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": provider},
            "random_sampling": percent,
            "overall_sampling": {"value": 100},
            # The whole URL is a default tag: a query may hold what must not be stored.
            "custom_tags": [{"tag": "http.url", "value": "%PATH(NQ:ORIG_OR_PATH)%"}],
        }
    }


def runtime() -> Json:
    """Return how soon spans leave: within half a second, so that a trace can be looked at right after its request."""
    return {"tracing.opentelemetry.flush_interval_ms": 500, "tracing.opentelemetry.min_flush_spans": 64}
