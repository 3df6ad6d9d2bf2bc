"""The whole document."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from openapi import errors
from openapi.contract import Contract, ContractError, Method
from openapi.examples import Examples
from openapi.gateway import TAG, gateway_paths
from openapi.operations import BEARER, Operations, is_for_callers
from openapi.paths import routes
from openapi.rules import Schema
from openapi.schemas import Schemas
from services.kit.implemented import PUBLIC_SERVICES

VERSION: Final = "0.1.0"

_DESCRIPTION: Final = """\
Candela over JSON. The same methods are there over gRPC and gRPC-Web on the same port; this document is made from \
their contract. Numbers of 64 bits travel as strings, bytes as Base64, and times as RFC 3339. A repeat of a change \
with the same `requestId` returns the first answer. Streams are server-sent events, one message in each `data:` line; \
finite ones end with an event that has `completed` or `error`.

Every answer that is not 2xx has one shape, `Error`, whoever gives it; its `reason` is what to branch on. A path that \
is not here is answered with 404 (`PATH_NOT_FOUND`), a verb that a path does not have with 405 \
(`METHOD_NOT_ALLOWED`), an unknown query parameter with 400. A service or the gateway may be busy or away: 429 and 503 \
say in `retry-after` when to come back. Fields that a request's body has and the contract has not are ignored."""


def build(contract: Contract, services: Sequence[str] = PUBLIC_SERVICES) -> dict[str, Any]:
    """Returns the document of the services; raises ContractError for one that the contract does not have."""
    unknown = [name for name in services if name not in contract.services]
    if unknown:
        raise ContractError(f"the contract has no service {', '.join(unknown)}")
    schemas = Schemas(contract, _in_replies(contract, services))
    paths = _paths(contract, Operations(contract, schemas), services)
    failures = dict(errors.shapes(schemas))
    _add_examples(paths, Examples(schemas.components))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Candela",
            "version": VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [*_tags(contract, services), TAG],
        "paths": paths | gateway_paths(),
        "components": {
            "schemas": dict(sorted(schemas.components.items())) | failures,
            "responses": errors.responses(),
            "headers": errors.HEADERS,
            "securitySchemes": {
                BEARER: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token from `POST /v1/sessions`, or an API key.",
                }
            },
        },
    }


def _tags(contract: Contract, services: Sequence[str]) -> list[Schema]:
    return [{"name": name.rpartition(".")[2], "description": contract.services[name].comment} for name in services]


def _methods(contract: Contract, services: Sequence[str]) -> Iterator[Method]:
    for service in services:
        yield from filter(is_for_callers, contract.services[service].methods)


def _in_replies(contract: Contract, services: Sequence[str]) -> frozenset[str]:
    """Returns the messages that answers hold, those of errors included."""
    outputs = {method.proto.output_type.removeprefix(".") for method in _methods(contract, services)}
    return frozenset().union(*(contract.reachable(name) for name in outputs))


def _paths(contract: Contract, operations: Operations, services: Sequence[str]) -> dict[str, Schema]:
    paths: dict[str, Schema] = {}
    for method in _methods(contract, services):
        for number, route in enumerate(routes(contract, method.proto)):
            paths.setdefault(route.path, {})[route.verb] = operations.operation(method, route, number)
    return paths


def _add_examples(paths: dict[str, Schema], examples: Examples) -> None:
    """Gives every JSON body an example."""
    for operation in (operation for path in paths.values() for operation in path.values()):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        example = None if body is None else examples.of(body["schema"])
        if body is not None and example is not None:
            body["example"] = example
