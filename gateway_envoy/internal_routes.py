"""The internal listener's routes: gRPC by service, retried as the contract allows."""

from typing import Final

from gateway_envoy.clusters import ELSEWHERE
from gateway_envoy.config import GatewayConfig, Json
from gateway_envoy.contract import Method

_ALWAYS: Final = "connect-failure,refused-stream,reset-before-request"


def internal_route_configuration(config: GatewayConfig) -> Json:
    """Return routes to every deployed server; a method of another one is UNIMPLEMENTED."""
    routes = [_method(method) for method in config.mesh_methods if _repeatable(method)]
    routes += [_server(upstream.name) for upstream in config.upstreams]
    unknown = {"name": "unknown method", "match": {"prefix": "/"}, "direct_response": {"status": 404}}
    host = {"name": "internal", "domains": ["*"], "routes": [*routes, unknown]}
    return {"name": "internal", "virtual_hosts": [host]}


def _repeatable(method: Method) -> bool:
    return method.idempotent and not method.streams_in and not method.streams_out


def _method(method: Method) -> Json:
    """Return the route of a method that may be tried again also after it may have run."""
    return {
        "name": method.path,
        "match": {"path": method.path},
        "route": _action(method.server, f"{_ALWAYS},reset,unavailable"),
        "decorator": {"operation": method.path.lstrip("/"), "propagate": False},
    }


def _server(name: str) -> Json:
    """Return the route of everything else that a server serves: streams, and what must not run twice."""
    return {
        "name": name,
        "match": {"prefix": f"/candela.{name}.v1."},
        "route": _action(name, _ALWAYS),
        "decorator": {"operation": f"candela.{name}.v1", "propagate": False},
    }


def _action(server: str, retry_on: str) -> Json:
    """Return cluster and retries. The caller's `grpc-timeout` is the only bound: every service sends one."""
    return {
        "cluster": server,
        "timeout": "0s",
        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
        "retry_policy": {"retry_on": retry_on, **ELSEWHERE},
    }
