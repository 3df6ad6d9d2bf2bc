"""The edge's routes: one for every path and verb of the contract, so that each has its own name, limits and times."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway_envoy.clusters import ELSEWHERE
from gateway_envoy.config import GatewayConfig, Json, StaticFile
from gateway_envoy.contract import Access, Method
from gateway_envoy.documents import LANDING
from gateway_envoy.filters import buffer, compressor, cors, jwt_authn, scripts, transcoder
from gateway_envoy.limits import Limits, duration
from gateway_envoy.paths import PathPattern, parse_template

HEALTH_PATHS: Final = ("/healthz", "/health")
_GRPC: Final[Json] = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
_INT64_MAX: Final = 2**63 - 1
_OPENAI: Final = "/openai/"
# Documents are for everybody. The CORS filter leaves what the gateway answers itself alone, so the route says it.
_READABLE: Final[Json] = {"header": {"key": "access-control-allow-origin", "value": "*"}}
_NO_STORE: Final[Json] = {
    "header": {"key": "cache-control", "value": "no-store"},
    "append_action": "ADD_IF_ABSENT",
}
_PREFLIGHT: Final = "access-control-request-method"


@dataclass(frozen=True, slots=True)
class JsonRoute:
    """One verb on one path and the method it calls."""

    verb: str
    pattern: PathPattern
    method: Method

    @property
    def name(self) -> str:
        """What traces and logs call it: `POST /v1/users`."""
        return f"{self.verb} {self.pattern.label}"

    def shape(self) -> str:
        """Return the shape of its errors."""
        return "openai" if self.pattern.label.startswith(_OPENAI) else "native"


def json_routes(config: GatewayConfig) -> list[JsonRoute]:
    """Return all JSON routes, literal paths first: `/v1/sessions/current` is no session of that name."""
    routes = [
        JsonRoute(rule.verb, parse_template(rule.template), method)
        for method in config.methods
        for rule in method.rules
    ]
    return sorted(routes, key=lambda route: (not route.pattern.literal, route.pattern.label, route.verb))


def route_configuration(config: GatewayConfig) -> Json:
    """Return the edge's routes, in the order in which they are tried."""
    rest = json_routes(config)
    return {
        "name": "edge",
        "max_direct_response_body_size_bytes": config.limits.document,
        # What Envoy thinks of the caller's address is nobody's business behind it.
        "request_headers_to_remove": ["x-envoy-internal"],
        "virtual_hosts": [
            {
                "name": "edge",
                "domains": ["*"],
                "typed_per_filter_config": {
                    cors.NAME: cors.policy(config),
                    scripts.NAME: scripts.context(shape="native", limit_bytes=str(config.limits.body)),
                },
                # Answers are one caller's, some hold tokens (RFC 6750): nobody on the way may keep them.
                "response_headers_to_add": [_NO_STORE],
                "routes": [
                    *(_grpc_route(method, config.limits) for method in config.methods),
                    _grpc_unknown(),
                    _preflight(config),
                    *(_health_route(path) for path in HEALTH_PATHS),
                    *(_document_route(document) for document in config.documents),
                    *(_landing_route() for document in config.documents if document.path == LANDING),
                    _too_large(config.limits),
                    *(_json_route(route, config.limits) for route in rest),
                    *_wrong_verb(rest, config),
                    _unknown_path(_OPENAI, "openai", config.limits),
                    _unknown_path("/", "native", config.limits),
                ],
            }
        ],
    }


def _grpc_route(method: Method, limits: Limits) -> Json:
    return {
        "name": method.path,
        "match": {"path": method.path, "headers": [_GRPC]},
        "route": _action(method, limits),
        **_named(method.path.lstrip("/")),
        **_deadline(method, limits),
        **_per_filter(_token(method)),
    }


def _grpc_unknown() -> Json:
    """Return the route of every other gRPC call; Envoy tells such a caller UNIMPLEMENTED."""
    return {
        "name": "unknown gRPC method",
        "match": {"prefix": "/", "headers": [_GRPC]},
        # Without a body the answer to a gRPC-Web caller would not be made a gRPC answer.
        "direct_response": {"status": 404, "body": {"inline_string": "no method has this path"}},
        **_named("unknown gRPC method"),
        **_answered_here(),
    }


def _json_route(route: JsonRoute, limits: Limits) -> Json:
    size = limits.file_body if route.method.takes_files else limits.body
    filters = _token(route.method) | {buffer.NAME: buffer.limit(size)} | _errors(route.shape(), size, limits)
    if route.method.streams_out:
        filters |= {compressor.GZIP: compressor.off(), compressor.BROTLI: compressor.off()}
    match: Json = {**route.pattern.envoy_match(), "headers": [_verb(route.verb)]}
    return {
        "name": route.name,
        "match": match,
        "route": _action(route.method, limits),
        **_named(route.name),
        **_deadline(route.method, limits),
        **_per_filter(filters),
    }


def _action(method: Method, limits: Limits) -> Json:
    """Return cluster, times and retries of a method."""
    base: Json = {"cluster": method.server, "retry_policy": _retries(method)}
    if method.streams_out or method.streams_in:
        # Streams live as long as something flows; a caller's own `grpc-timeout` still holds.
        idle = duration(limits.stream_idle)
        return base | {"timeout": "0s", "idle_timeout": idle, "max_stream_duration": {"grpc_timeout_header_max": "0s"}}
    longest = limits.answer(takes_files=method.takes_files) + limits.unary_slack
    return base | {
        "timeout": duration(longest),
        "idle_timeout": duration(longest),
        "max_stream_duration": {
            "max_stream_duration": duration(longest + limits.upload),
            "grpc_timeout_header_max": duration(longest),
        },
    }


def _deadline(method: Method, limits: Limits) -> Json:
    """Return the header that tells the service how long it has, for callers that did not say so themselves."""
    if method.streams_in or method.streams_out:
        return {}
    seconds = limits.answer(takes_files=method.takes_files)
    header = {"key": "grpc-timeout", "value": f"{int(seconds * 1000)}m"}
    return {"request_headers_to_add": [{"header": header, "append_action": "ADD_IF_ABSENT"}]}


def _retries(method: Method) -> Json:
    """Return when a call is tried again: what never reached a service always, a lost one only when that is harmless.

    The edge cannot see whether a mutation carries a request_id, so it leaves those to the callers, who know.
    """
    conditions = ["connect-failure", "refused-stream", "reset-before-request"]
    if method.read_only and not method.streams_in and not method.streams_out:
        conditions += ["reset", "unavailable"]
    return {"retry_on": ",".join(conditions), **ELSEWHERE}


def _preflight(config: GatewayConfig) -> Json:
    """Return the route that preflight requests match: the CORS filter answers them all, none is forwarded.

    It does so only on routes with a cluster, which the gateway's own answers lack.
    """
    asks = [_verb("OPTIONS"), *({"name": name, "present_match": True} for name in ("origin", _PREFLIGHT))]
    return {
        "name": "preflight",
        "match": {"prefix": "/", "headers": asks},
        "route": {"cluster": config.upstreams[0].name},
        **_untraced(),
        **_answered_here(),
    }


def _health_route(path: str) -> Json:
    return {
        "name": f"GET {path}",
        "match": {"path": path, "headers": [_verb("GET")]},
        "direct_response": {"status": 200},
        **_untraced(),
        **_answered_here({scripts.NAME: scripts.health()}),
    }


def _document_route(document: StaticFile) -> Json:
    headers = {
        "content-type": document.content_type,
        "cache-control": "public, max-age=300",
        "x-content-type-options": "nosniff",
        **dict(document.headers),
    }
    return {
        "name": f"GET {document.path}",
        "match": {"path": document.path, "headers": [_verb("GET")]},
        "direct_response": {"status": 200, "body": {"filename": str(document.file)}},
        "response_headers_to_add": [
            _READABLE,
            *(
                {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
                for key, value in headers.items()
            ),
        ],
        **_untraced(),
        **_answered_here(),
    }


def _landing_route() -> Json:
    """Return the route of `/`, which leads whoever comes with a browser to the page that explains the mesh."""
    return {
        "name": "GET /",
        "match": {"path": "/", "headers": [_verb("GET")]},
        "direct_response": {"status": 307},
        "response_headers_to_add": [
            # Envoy would send the caller to this address itself.
            {"header": {"key": "location", "value": LANDING}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
        **_untraced(),
        **_answered_here(),
    }


def _too_large(limits: Limits) -> Json:
    """Return the route that refuses what says of itself that it is too large, before any of it is read."""
    size, name = limits.file_body, "body too large"
    header = {"name": "content-length", "range_match": {"start": size + 1, "end": _INT64_MAX}}
    return {
        "name": name,
        "match": {"prefix": "/", "headers": [header]},
        "direct_response": {"status": 413},
        **_named(name),
        **_answered_here(_errors("native", size, limits)),
    }


def _wrong_verb(routes: list[JsonRoute], config: GatewayConfig) -> Iterator[Json]:
    """Yields one route for each path of the contract: whoever comes here used a verb that the path does not have."""
    patterns = {route.pattern.label: route.pattern for route in routes}
    documents = [document.path for document in config.documents]
    ours = (*HEALTH_PATHS, *documents, *(["/"] if LANDING in documents else []))
    patterns |= {path: parse_template(path) for path in ours}
    for label, pattern in patterns.items():
        verbs = {route.verb for route in routes if route.pattern.matches(pattern.sample)} or {"GET"}
        header = {"key": "allow", "value": ", ".join(sorted(verbs))}
        shape = "openai" if label.startswith(_OPENAI) else "native"
        yield {
            "name": f"wrong verb on {label}",
            "match": pattern.envoy_match(),
            "direct_response": {"status": 405},
            "response_headers_to_add": [{"header": header}],
            **_named(f"wrong verb on {label}"),
            **_answered_here(_errors(shape, config.limits.body, config.limits)),
        }


def _unknown_path(prefix: str, shape: str, limits: Limits) -> Json:
    return {
        "name": f"unknown path under {prefix}",
        "match": {"prefix": prefix},
        "direct_response": {"status": 404},
        **_named(f"unknown path under {prefix}"),
        **_answered_here(_errors(shape, limits.body, limits)),
    }


def _named(name: str) -> Json:
    """Return the name of a route's spans."""
    return {"decorator": {"operation": name, "propagate": False}}


def _verb(verb: str) -> Json:
    return {"name": ":method", "string_match": {"exact": verb}}


def _errors(shape: str, size: int, limits: Limits) -> Json:
    """Return what the script for errors must know where the virtual host's word does not hold."""
    if (shape, size) == ("native", limits.body):
        return {}
    return {scripts.NAME: scripts.context(shape=shape, limit_bytes=str(size))}


def _token(method: Method) -> Json:
    return {jwt_authn.NAME: jwt_authn.off()} if method.access is Access.PUBLIC else {}


def _answered_here(more: Json | None = None) -> Json:
    """Return the filter settings of a route that the gateway answers itself: no token, no transcoding."""
    return _per_filter({jwt_authn.NAME: jwt_authn.off(), transcoder.NAME: transcoder.off()} | (more or {}))


def _per_filter(filters: Json) -> Json:
    return {"typed_per_filter_config": filters} if filters else {}


def _untraced() -> Json:
    """Return that a route makes no spans: probes would push everything else out of a short store of traces."""
    never = {"numerator": 0}
    return {"tracing": {"client_sampling": never, "random_sampling": never, "overall_sampling": never}}
