"""The whole document."""

from collections.abc import Sequence
from typing import Any, Final

from candela.error.v1 import error_reason_pb2
from openapi.contract import Contract, ContractError
from openapi.operations import BEARER, ERROR, OPENAI_ERROR, OPENAI_PREFIX, Operations, is_for_callers
from openapi.paths import routes
from openapi.rules import Schema
from openapi.schemas import REF, Schemas
from services.kit.implemented import PUBLIC_SERVICES

VERSION: Final = "0.1.0"

_DESCRIPTION: Final = """\
Candela over JSON. The same methods are there over gRPC and gRPC-Web on the same port; this document is made from \
their contract. Numbers of 64 bits travel as strings, bytes as Base64, and times as RFC 3339. A repeat of a change \
with the same `requestId` returns the first answer. Streams are server-sent events, one message in each `data:` line; \
finite ones end with an event that has `completed` or `error`."""
_DETAILS: Final = (
    "google.rpc.ErrorInfo",
    "google.rpc.BadRequest",
    "google.rpc.RetryInfo",
    "google.rpc.RequestInfo",
)


def build(contract: Contract, services: Sequence[str] = PUBLIC_SERVICES) -> dict[str, Any]:
    """Returns the document of the services; raises ContractError for one that the contract does not have."""
    unknown = [name for name in services if name not in contract.services]
    if unknown:
        raise ContractError(f"the contract has no service {', '.join(unknown)}")
    schemas = Schemas(contract)
    paths = _paths(contract, Operations(contract, schemas), services)
    errors = _errors(openai=any(path.startswith(OPENAI_PREFIX) for path in paths))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Candela",
            "version": VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": name.rpartition(".")[2], "description": contract.services[name].comment} for name in services
        ],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())) | {name: schema for name, schema, _ in errors},
            "responses": {name: response for name, _, response in errors},
            "securitySchemes": {
                BEARER: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token from `POST /v1/sessions`, or an API key.",
                }
            },
        },
    }


def _paths(contract: Contract, operations: Operations, services: Sequence[str]) -> dict[str, Schema]:
    paths: dict[str, Schema] = {}
    for service in services:
        for method in filter(is_for_callers, contract.services[service].methods):
            for number, route in enumerate(routes(contract, method.proto)):
                paths.setdefault(route.path, {})[route.verb] = operations.operation(method, route, number)
    return paths


def _errors(*, openai: bool) -> list[tuple[str, Schema, Schema]]:
    """Returns the names, schemas and responses of the shapes that errors have."""
    found = [(ERROR, _error_schema(), _error_response(ERROR))]
    return [*found, (OPENAI_ERROR, _openai_error_schema(), _error_response(OPENAI_ERROR))] if openai else found


def _error_response(name: str) -> Schema:
    return {
        "description": "Every answer that is not 2xx.",
        "content": {"application/json": {"schema": {"$ref": f"{REF}{name}"}}},
    }


def _error_schema() -> Schema:
    prefix = "ERROR_REASON_"
    reasons = [value.name.removeprefix(prefix) for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values[1:]]
    detail = {
        "type": "object",
        "description": (
            f"One of {', '.join(_DETAILS)}. Each error has an ErrorInfo with a stable `reason`: {', '.join(reasons)}."
        ),
        "properties": {
            "@type": {"type": "string"},
            "reason": {"type": "string"},
            "domain": {"type": "string"},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["@type"],
    }
    error = {
        "type": "object",
        "required": ["code", "status", "message", "details"],
        "properties": {
            "code": {"type": "integer", "description": "The HTTP status."},
            "status": {"type": "string", "description": "The gRPC status, such as `NOT_FOUND`."},
            "message": {"type": "string", "description": "Words for a person; they may change."},
            "details": {"type": "array", "items": detail},
        },
    }
    return {
        "type": "object",
        "description": "Why a call failed.",
        "required": ["error"],
        "properties": {"error": error},
    }


def _openai_error_schema() -> Schema:
    error = {
        "type": "object",
        "required": ["message", "type", "param", "code"],
        "properties": {
            "message": {"type": "string"},
            "type": {"type": "string"},
            "param": {"type": ["string", "null"]},
            "code": {"type": ["string", "null"]},
        },
    }
    return {
        "type": "object",
        "description": "Why a call failed.",
        "required": ["error"],
        "properties": {"error": error},
    }
