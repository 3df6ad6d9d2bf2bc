"""The errors of the mesh: their one shape, and which statuses an operation can answer with.

What Envoy says itself is listed for every operation; what a service says is read from the method's access option and
from its comment, which names the codes it fails with. A status that neither tells of is a finding of the tests, which
hold every reply of the mesh against this document.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from candela.error.v1 import error_reason_pb2
from openapi.rules import Schema
from openapi.schemas import REF, Schemas

ERROR: Final = "Error"
OPENAI_ERROR: Final = "OpenAiError"
TRACE_HEADER: Final = "candela-trace-id"

_DOMAIN: Final = "candela.dev"
_TYPES: Final = "type.googleapis.com/"
_INFO: Final = "google.rpc.ErrorInfo"
_DETAILS: Final = ("google.rpc.BadRequest", "google.rpc.RetryInfo", "google.rpc.RequestInfo")
_RESPONSES: Final = "#/components/responses/"


@dataclass(frozen=True, slots=True)
class Failure:
    """One HTTP status from 400 on: its name in the document, when it comes, the gRPC codes behind it, an example."""

    status: int
    name: str
    when: str
    codes: tuple[str, ...]
    reason: str
    message: str
    always: bool = False
    """Whether Envoy or any server may say so, whatever the operation."""
    headers: tuple[str, ...] = ()


FAILURES: Final = (
    Failure(
        400, "BadRequest", "A value is wrong, or the state of things does not allow the call.",
        ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"),
        "UNKNOWN_QUERY_PARAMETER", 'the method has no parameter "colour"', always=True,
    ),
    Failure(
        401, "Unauthenticated", "Who is calling is not known.", ("UNAUTHENTICATED",),
        "TOKEN_EXPIRED", "the token has expired; refresh it", headers=("www-authenticate",),
    ),
    Failure(
        402, "PaymentRequired", "The credits do not suffice.", ("FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"),
        "CREDITS_INSUFFICIENT", "the credits do not suffice",
    ),
    Failure(
        403, "PermissionDenied", "Who is calling may not do this.", ("PERMISSION_DENIED",),
        "PERMISSION_DENIED", "this needs the permission read:admin",
    ),
    Failure(
        404, "NotFound", "No such thing, or not for this caller: the two look the same.", ("NOT_FOUND",),
        "NOT_FOUND", "there is no such session",
    ),
    Failure(
        405, "MethodNotAllowed", "The path does not have this verb.", ("UNIMPLEMENTED",),
        "METHOD_NOT_ALLOWED", "this path does not have this verb", headers=("allow",),
    ),
    Failure(
        408, "RequestTimeout", "The request did not arrive in time.", ("DEADLINE_EXCEEDED",),
        "DEADLINE_EXCEEDED", "the request did not arrive in time", always=True,
    ),
    Failure(
        409, "Conflict", "Something of that name exists, or a concurrent change won.", ("ALREADY_EXISTS", "ABORTED"),
        "ALREADY_EXISTS", "the e-mail address is taken",
    ),
    Failure(
        413, "RequestTooLarge", "The request is too large; `limit_bytes` tells the limit.", ("RESOURCE_EXHAUSTED",),
        "REQUEST_TOO_LARGE", "the request is too large", always=True,
    ),
    Failure(
        426, "UpgradeRequired", "The request came over HTTP/1.0.", ("UNIMPLEMENTED",),
        "UNIMPLEMENTED", "HTTP/1.1 or HTTP/2 is needed", always=True, headers=("upgrade",),
    ),
    Failure(
        429, "ResourceExhausted", "A limit is reached: of calls, of what is stored, of what the servers can do.",
        ("RESOURCE_EXHAUSTED",), "RATE_LIMITED", "too many calls; try again later", always=True,
        headers=("retry-after",),
    ),
    Failure(
        431, "HeadersTooLarge", "The request's headers are too large or too many.", ("RESOURCE_EXHAUSTED",),
        "REQUEST_TOO_LARGE", "the request's headers are too large or too many", always=True,
    ),
    Failure(
        499, "Cancelled", "The call was cancelled.", ("CANCELLED",), "CANCELLED", "the call was cancelled",
    ),
    Failure(
        500, "Internal", "A defect on the side of the servers; the trace id finds it in their logs.",
        ("INTERNAL", "UNKNOWN", "DATA_LOSS"), "INTERNAL", "internal error", always=True,
    ),
    Failure(
        501, "Unimplemented", "The contract has it, and this mesh does not.", ("UNIMPLEMENTED",),
        "UNIMPLEMENTED", "this mesh does not have that",
    ),
    Failure(
        503, "Unavailable", "Something that the answer needs is down for now.", ("UNAVAILABLE",),
        "UNAVAILABLE", "the service is not available; try again", always=True, headers=("retry-after",),
    ),
    Failure(
        504, "DeadlineExceeded", "The answer took too long.", ("DEADLINE_EXCEEDED",),
        "DEADLINE_EXCEEDED", "the service did not answer in time", always=True,
    ),
)  # fmt: skip
_BY_CODE: Final = {
    code: failure.status
    for failure in FAILURES
    if failure.status not in (402, 405, 408, 413, 426, 431)
    for code in failure.codes
}
_CODE: Final = re.compile(rf"\b({'|'.join(_BY_CODE)})\b")

HEADERS: Final[dict[str, Schema]] = {
    TRACE_HEADER: {
        "description": "Finds the call in traces and logs.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "retry-after": {
        "description": "Seconds to wait before the next attempt.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "allow": {
        "description": "The verbs that the path has.",
        "schema": {"type": "string", "pattern": "^[A-Z]+(, [A-Z]+)*$"},
    },
    "www-authenticate": {
        "description": "How to sign in (RFC 6750).",
        "schema": {"type": "string", "pattern": '^Bearer realm="candela"'},
    },
    "upgrade": {"description": "What to speak instead.", "schema": {"type": "string"}},
}


def header(name: str, *, required: bool = False) -> Schema:
    """Returns a response's header."""
    found: Schema = {"$ref": f"#/components/headers/{name}"}
    return HEADERS[name] | {"required": True} if required else found


def statuses(comment: str, *, public: bool, named: bool, repeatable: bool, openai: bool) -> list[int]:
    """Returns the statuses from 400 on that an operation may answer with, in order.

    `named` says that path or request name a resource, `repeatable` that its request has a request_id.
    """
    found = {failure.status for failure in FAILURES if failure.always}
    found |= {_BY_CODE[code] for code in _CODE.findall(comment)}
    found |= set() if public else {401, 403}
    found |= {404} if named else set()
    found |= {409} if repeatable else set()
    found |= {402} if openai else set()
    return sorted(found)


def references(found: list[int], *, openai: bool = False) -> Schema:
    """Returns the responses of an operation for its statuses."""
    names = {failure.status: failure.name for failure in FAILURES}
    prefix = "OpenAi" if openai else ""
    return {str(status): {"$ref": f"{_RESPONSES}{prefix}{names[status]}"} for status in found}


def responses() -> dict[str, Schema]:
    """Returns the component of each status, in the shape of our own paths and in OpenAI's.

    The gateway uses OpenAI's below `/openai/`, whatever is deployed.
    """
    own = {failure.name: _response(failure, _shape(failure), _example(failure)) for failure in FAILURES}
    shape = {"$ref": f"{REF}{OPENAI_ERROR}"}
    return own | {f"OpenAi{one.name}": _response(one, shape, _openai_example(one)) for one in FAILURES}


def _response(failure: Failure, schema: Schema, example: Schema) -> Schema:
    names = (TRACE_HEADER, *failure.headers)
    return {
        "description": failure.when,
        "headers": {name: header(name) for name in names},
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _shape(failure: Failure) -> Schema:
    narrowed = {"code": {"const": failure.status}, "status": {"enum": list(failure.codes)}}
    inner = {"properties": {"error": {"type": "object", "properties": narrowed}}}
    return {"allOf": [{"$ref": f"{REF}{ERROR}"}, {"type": "object", **inner}]}


def _example(failure: Failure) -> Schema:
    info = {"@type": f"{_TYPES}{_INFO}", "reason": failure.reason, "domain": _DOMAIN, "metadata": {}}
    details: list[Schema] = [info]
    if failure.status == 503:
        details.append({"@type": f"{_TYPES}google.rpc.RetryInfo", "retryDelay": "1s"})
    error = {"code": failure.status, "status": failure.codes[0], "message": failure.message, "details": details}
    return {"error": error}


def _openai_example(failure: Failure) -> Schema:
    kind = "invalid_request_error" if failure.status < 500 else "server_error"
    error = {"message": failure.message, "type": kind, "param": None, "code": failure.reason.lower()}
    return {"error": error}


def shapes(schemas: Schemas) -> Iterator[tuple[str, Schema]]:
    """Yields the names and schemas of what errors look like; the details they hold become components."""
    yield ERROR, _error(schemas)
    yield OPENAI_ERROR, _openai_error()


def _error(schemas: Schemas) -> Schema:
    codes = sorted({code for failure in FAILURES for code in failure.codes})
    details: Schema = {
        "type": "array",
        "description": "An ErrorInfo with a stable `reason`, and what else there is to say.",
        "items": {"oneOf": [_info(), *(_detail(schemas, name) for name in _DETAILS)]},
        "contains": {"properties": {"@type": {"const": f"{_TYPES}{_INFO}"}}},
        "maxContains": 1,
    }
    properties = {
        "code": {"type": "integer", "description": "The HTTP status."},
        "status": {"type": "string", "description": "The gRPC status.", "enum": codes},
        "message": {"type": "string", "description": "Words for a person; they may change.", "minLength": 1},
        "details": details,
    }
    error = {"type": "object", "required": list(properties), "properties": properties}
    return _wrapped(error)


def _info() -> Schema:
    prefix = "ERROR_REASON_"
    reasons = [value.name.removeprefix(prefix) for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values[1:]]
    properties: dict[str, Schema] = {
        "@type": {"const": f"{_TYPES}{_INFO}"},
        "reason": {"type": "string", "description": "What to branch on.", "enum": reasons},
        "domain": {"const": _DOMAIN},
        "metadata": {
            "type": "object",
            "description": "The parts of the message that vary.",
            "additionalProperties": {"type": "string"},
        },
    }
    return {"type": "object", "title": "ErrorInfo", "required": list(properties), "properties": properties}


def _detail(schemas: Schemas, name: str) -> Schema:
    """Returns the schema of a detail: its message in place, with the address that says which it is."""
    made = schemas.message(name, reply=True)
    kind: dict[str, Any] = {"@type": {"const": f"{_TYPES}{name}"}}
    # A detail is written without the fields that are zero, and which those are cannot be told.
    made.pop("required", None)
    return made | {"title": name.rpartition(".")[2], "properties": kind | made["properties"], "required": ["@type"]}


def _openai_error() -> Schema:
    properties: dict[str, Schema] = {
        "message": {"type": "string"},
        "type": {"type": "string"},
        "param": {"type": ["string", "null"]},
        "code": {"type": ["string", "null"]},
    }
    return _wrapped({"type": "object", "required": list(properties), "properties": properties})


def _wrapped(error: Schema) -> Schema:
    return {
        "type": "object",
        "description": "Why a call failed.",
        "required": ["error"],
        "properties": {"error": error},
    }
