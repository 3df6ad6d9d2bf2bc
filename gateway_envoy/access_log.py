"""The access log: one JSON object a request, with the names that all logs of the mesh share."""

from typing import Final

from gateway_envoy.config import GatewayConfig, Json
from gateway_envoy.filters import jwt_authn

_TYPE: Final = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


def access_log(config: GatewayConfig, listener: str) -> Json:
    """Return the log of a listener. Queries, bodies and tokens are never in it."""
    fields = {
        "timestamp": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "level": "INFO",
        "logger": f"gateway.{listener}",
        "message": "%ROUTE_NAME%",
        "trace_id": "%TRACE_ID%",
        "span_id": "%SPAN_ID%",
        "user_id": f"%DYNAMIC_METADATA({jwt_authn.NAME}:{jwt_authn.METADATA}:sub)%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "http": {
            "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
            "path": "%PATH(NQ:ORIG_OR_PATH)%",
            "protocol": "%PROTOCOL%",
            "status": "%RESPONSE_CODE%",
            "grpc_status": "%GRPC_STATUS(CAMEL_STRING)%",
            "duration_ms": "%DURATION%",
            "bytes_received": "%BYTES_RECEIVED%",
            "bytes_sent": "%BYTES_SENT%",
            "upstream": "%UPSTREAM_CLUSTER%",
            "upstream_host": "%UPSTREAM_HOST%",
            "response_flags": "%RESPONSE_FLAGS%",
            "details": "%RESPONSE_CODE_DETAILS%",
        },
    }
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {"@type": _TYPE, "path": config.access_log, "log_format": {"json_format": fields}},
    }
