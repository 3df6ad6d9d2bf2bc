"""Envoy's own replies: marked for the errors' script, and JSON already should one of them pass by it.

The script (filters/errors.lua) knows more and writes the final text. It finds Envoy's reason in a header that is added
here, and Envoy's text in the metadata `gateway`.
"""

from typing import Final

from gateway_envoy.config import Json
from gateway_envoy.filters.trace_header import HEADER

REPLY: Final = "candela-reply"
"""Marks Envoy's own replies for the errors' script, which takes it away."""

_DOMAIN: Final = "candela.dev"
_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_REPLIES: Final = (
    (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "the request is no valid HTTP, or its path is not acceptable"),
    (408, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "the request did not arrive in time"),
    (426, "UNIMPLEMENTED", "UNIMPLEMENTED", "HTTP/1.1 or HTTP/2 is needed"),
    (431, "RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE", "the request's headers are too large or too many"),
    (503, "UNAVAILABLE", "UNAVAILABLE", "the gateway is overloaded; try again"),
)


def configuration() -> Json:
    """Return the rewriting of replies from 400 on. gRPC callers keep Envoy's text, which is their `grpc-message`."""
    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    transcoded = {"name": "x-envoy-original-path", "present_match": True, "invert_match": True}
    # A transcoded request looks like gRPC by now; its caller speaks JSON.
    both = [_status("GE", 400), *({"header_filter": {"header": one}} for one in (grpc, transcoded))]
    mappers = [_mapper({"and_filter": {"filters": both}})]
    mappers += [_mapper(_status("EQ", code), _body(*rest)) for code, *rest in _REPLIES]
    mappers.append(_mapper(_status("GE", 400), _body("UNKNOWN", "INTERNAL", "the gateway could not answer")))
    return {"mappers": mappers}


def _status(operator: str, code: int) -> Json:
    comparison = {"op": operator, "value": {"default_value": code, "runtime_key": "candela.never_set"}}
    return {"status_code_filter": {"comparison": comparison}}


def _mapper(condition: Json, body: Json | None = None) -> Json:
    headers = [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in ((REPLY, "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%"), (HEADER, "%TRACE_ID%"))
    ]
    return {"filter": condition, "headers_to_add": headers, **({"body_format_override": body} if body else {})}


def _body(status: str, reason: str, message: str) -> Json:
    info = {
        "@type": _ERROR_INFO,
        "reason": reason,
        "domain": _DOMAIN,
        "metadata": {"gateway": "%LOCAL_REPLY_BODY%"},
    }
    error = {"code": "%RESPONSE_CODE%", "status": status, "message": message, "details": [info]}
    return {"json_format": {"error": error}}
