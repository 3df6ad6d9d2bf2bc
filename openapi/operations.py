"""One RPC on one path as an operation of OpenAPI."""

from typing import Any, Final

from candela.auth.v1 import access_pb2
from openapi import errors
from openapi.contract import Contract, FieldProto, Method, is_repeated
from openapi.paths import Route
from openapi.rules import Schema, is_required, names_a_resource
from openapi.schemas import Schemas

BEARER: Final = "bearer"
OPENAI_PREFIX: Final = "/openai/"

_RAW: Final = "google.api.HttpBody"
_ENDS: Final = ("completed", "error")
_DEEPEST = 2  # query parameters name fields of messages in the request, and no deeper


class Operations:
    """Makes operations; the schemas they need become components."""

    def __init__(self, contract: Contract, schemas: Schemas) -> None:
        self._contract = contract
        self._schemas = schemas

    def operation(self, method: Method, route: Route, number: int) -> Schema:
        """Returns the operation of a method's binding; `number` counts its bindings from 0."""
        request = method.proto.input_type.removeprefix(".")
        service = method.service.rpartition(".")[2]
        made: Schema = {
            "operationId": f"{service}_{method.proto.name}" + (f"_{number + 1}" if number else ""),
            "tags": [service],
            "summary": _summary(method.comment),
            "description": method.comment,
            "parameters": [*route.parameters, *self._query(request, route)],
            "responses": self._responses(method, route),
            "security": _security(method),
        }
        body = self._body(request, route)
        if body is not None:
            made["requestBody"] = body
        access = _access(method)
        if access.permission:
            made["x-permission"] = access.permission
        return made

    def _query(self, request: str, route: Route) -> list[Schema]:
        """Returns the fields that neither path nor body takes, as parameters of the query."""
        if route.body == "*":
            return []
        return [
            parameter
            for field, comment in self._contract.fields(request)
            if field.name != route.body and field.name not in route.bound
            for parameter in self._parameters(field, comment, "", 1)
        ]

    def _parameters(self, field: FieldProto, comment: str, prefix: str, depth: int) -> list[Schema]:
        name = f"{prefix}{field.json_name}"
        inner = self._contract.messages.get(field.type_name.removeprefix("."))
        if inner is not None and not is_repeated(field) and not field.type_name.startswith(".google.protobuf."):
            if depth == _DEEPEST:
                return []
            return [
                parameter
                for one, text in self._contract.fields(field.type_name.removeprefix("."))
                for parameter in self._parameters(one, text, f"{name}.", depth + 1)
            ]
        schema = self._schemas.field(field, "")
        schema.pop("description", None)
        return [{"name": name, "in": "query", "required": is_required(field), "description": comment, "schema": schema}]

    def _body(self, request: str, route: Route) -> Schema | None:
        if not route.body:
            return None
        if route.body == "*":
            schema = self._all_but(request, route.bound)
            return {"required": True, "content": {"application/json": {"schema": schema}}}
        field, comment = next(pair for pair in self._contract.fields(request) if pair[0].name == route.body)
        if field.type_name.removeprefix(".") == _RAW:
            return {"required": True, "description": comment, "content": {"*/*": {"schema": {}}}}
        reference = self._schemas.reference(field.type_name.removeprefix("."))
        return {"required": True, "description": comment, "content": {"application/json": {"schema": reference}}}

    def _all_but(self, request: str, bound: frozenset[str]) -> Schema:
        """Returns the request's schema, written in place when the path takes some of its fields."""
        return self._schemas.message(request, bound) if bound else self._schemas.reference(request)

    def _responses(self, method: Method, route: Route) -> dict[str, Schema]:
        openai = route.path.startswith(OPENAI_PREFIX)
        request = [field for field, _ in self._contract.fields(method.proto.input_type.removeprefix("."))]
        failures = errors.statuses(
            method.comment,
            public=_access(method).level == access_pb2.Access.LEVEL_PUBLIC,
            named=bool(route.bound) or any(names_a_resource(field) for field in request),
            repeatable=any(field.name == "request_id" for field in request),
            openai=openai,
        )
        done: Schema = {
            "description": "Done.",
            "headers": {errors.TRACE_HEADER: errors.header(errors.TRACE_HEADER, required=True)},
            "content": self._content(method),
        }
        return {"200": done} | errors.references(failures, openai=openai)

    def _content(self, method: Method) -> dict[str, Schema]:
        response = method.proto.output_type.removeprefix(".")
        if response == _RAW:
            return {"*/*": {"schema": {}}}
        schema = self._schemas.reference(response, reply=True)
        if not method.proto.server_streaming:
            return {"application/json": {"schema": schema}}
        # One event a message; OpenAPI 3.1 has no word for that, so the schema is that of the JSON in each `data:` line.
        ends = [name for name in _ENDS if name in {field.name for field, _ in self._contract.fields(response)}]
        return {"text/event-stream": {"schema": schema, "x-events": {"data": "one message", "last": ends}}}


def _access(method: Method) -> access_pb2.Access:
    access: access_pb2.Access = method.proto.options.Extensions[access_pb2.access]
    return access


def _security(method: Method) -> list[dict[str, list[Any]]]:
    return [] if _access(method).level == access_pb2.Access.LEVEL_PUBLIC else [{BEARER: []}]


def is_for_callers(method: Method) -> bool:
    """Says whether anybody outside the mesh may call a method."""
    return _access(method).level not in (access_pb2.Access.LEVEL_SERVICE, access_pb2.Access.LEVEL_UNSPECIFIED)


def _summary(comment: str) -> str:
    """Returns the first sentence, plain: a summary has no marks for code."""
    sentence, dot, _ = comment.replace("\n", " ").replace("`", "").partition(". ")
    return sentence.rstrip(".") + ("." if dot or sentence else "")
