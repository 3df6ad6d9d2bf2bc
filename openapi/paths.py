"""HTTP rules of the contract as paths of OpenAPI.

`/v1/{name=users/*}` binds one field of the request to a piece of the path that has a shape of its own. OpenAPI wants
one parameter for each part that varies, so it becomes `/v1/users/{user}`; the parameters are called as in the comments
of the contract, which write names as `users/{user}`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule

from openapi.contract import Contract, FieldProto, MethodProto
from openapi.rules import Schema, rules_of

_VARIABLE: Final = re.compile(r"\{([^{}=]+)(?:=([^{}]*))?\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP binding of an RPC.

    `path` is OpenAPI's, `parameters` those of the path, `bound` the fields of the request that the path fills (dotted),
    and `body` the field that is the body: `*` for all that is left, empty for none.
    """

    verb: str
    path: str
    parameters: tuple[Schema, ...]
    bound: frozenset[str]
    body: str


def routes(contract: Contract, method: MethodProto) -> Iterator[Route]:
    """Yields the bindings of an RPC; none when the gateway does not serve it as JSON."""
    if not method.options.HasExtension(annotations_pb2.http):  # type: ignore[arg-type] # typed as a plain descriptor
        return
    rule: HttpRule = method.options.Extensions[annotations_pb2.http]  # type: ignore[index] # as above
    for one in (rule, *rule.additional_bindings):
        verb = one.WhichOneof("pattern")
        if verb is not None and verb != "custom":
            yield _route(contract, method, verb, getattr(one, verb), one.body)


def _route(contract: Contract, method: MethodProto, verb: str, template: str, body: str) -> Route:
    parameters: list[Schema] = []
    bound: set[str] = set()

    def replace(match: re.Match[str]) -> str:
        path, shape = match[1], match[2] or "*"
        bound.add(path)
        field, comment = _find(contract, method.input_type.removeprefix("."), path)
        names = _names(contract, shape.split("/"), path.rpartition(".")[2])
        parameters.extend(_parameters(shape, names, field, comment))
        found = iter(names)
        return "/".join(f"{{{next(found)}}}" if segment == "*" else segment for segment in shape.split("/"))

    path = _VARIABLE.sub(replace, template)
    return Route(verb, path, tuple(parameters), frozenset(bound), body)


def _find(contract: Contract, message: str, path: str) -> tuple[FieldProto, str]:
    """Returns the field of a dotted path and its comment."""
    head, _, rest = path.partition(".")
    for field, comment in contract.fields(message):
        if field.name == head:
            return _find(contract, field.type_name.removeprefix("."), rest) if rest else (field, comment)
    raise KeyError(f"{message} has no field {head}")


def _names(contract: Contract, segments: list[str], field: str) -> list[str]:
    """Returns what to call each part that varies."""
    if segments == ["*"]:
        return [field]
    return [
        contract.collections.get(segments[place - 1], f"{segments[place - 1]}_id")
        for place, segment in enumerate(segments)
        if segment == "*"
    ]


def _parameters(shape: str, names: list[str], field: FieldProto, comment: str) -> Iterator[Schema]:
    segments = shape.split("/")
    patterns = _patterns(field, segments)
    varying = [place for place, segment in enumerate(segments) if segment == "*"]
    for name, place in zip(names, varying, strict=True):
        schema: Schema = {"type": "string"}
        if patterns is not None:
            schema["pattern"] = f"^{patterns[place]}$"
        description = comment if len(segments) == 1 else f"A part of `{shape}`. {comment}"
        yield {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _patterns(field: FieldProto, segments: list[str]) -> list[str] | None:
    """Returns the field's pattern cut into its segments, None when it has none or does not follow the shape."""
    pattern = rules_of(field).string.pattern
    if not (pattern.startswith("^") and pattern.endswith("$")):
        return None
    parts = pattern[1:-1].split("/")
    fits = len(parts) == len(segments) and all(
        segment in ("*", part) for part, segment in zip(parts, segments, strict=True)
    )
    return parts if fits else None
