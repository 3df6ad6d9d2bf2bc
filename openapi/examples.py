"""Requests to begin with: for each body one that fits its schema, so that a reader can send it after few changes.

An example is made from the schema alone. Where a field's limits ask for what cannot be made up (an unusual pattern) it
is left out, and with it every object that needs it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from openapi.rules import Schema
from openapi.schemas import REF

# What a person would write, by the last part of a field's name.
_BY_NAME: Final[dict[str, str]] = {
    "email": "ada@example.com", "identifier": "ada@example.com", "username": "ada", "displayName": "Ada Lovelace",
    "password": "correct horse battery", "currentPassword": "correct horse battery",
    "newPassword": "staple battery horse", "device": "Ada's laptop", "phone": "+8613800138000",
    "filename": "letter.png", "mediaType": "image/png", "title": "New models", "currencyCode": "CNY",
}  # fmt: skip
_BY_FORMAT: Final[dict[str, str]] = {
    "uuid": "8c5b8b9e-8f0c-4d2a-9d7e-2f6b6f0b8a11", "date-time": "2026-03-14T12:00:00Z", "int64": "1",
    "email": "ada@example.com", "uri": "https://example.com/hook", "hostname": "example.com",
}  # fmt: skip
# A picture of 2 × 2 white points, so that what takes pictures has one.
_PICTURE: Final = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR42mP4/5/h/38GABP8A/0AAAAASUVORK5CYII="
_CANDIDATES: Final = ("example", "ada", "1.5s", "+8613800138000", "Example", "image/png", "1", "0" * 64)
# Left to who calls: the marks of a repeat, of the next page and of a state that was read before.
_LEFT_OUT: Final = frozenset({"requestId", "pageToken", "etag", "phone"})
_NAME: Final = re.compile(r"^\^(?P<collection>[A-Za-z/]+/)\[A-Za-z0-9_-\]\{1,64\}\$$")
_DEEPEST: Final = 4


class Examples:
    """Makes examples for the schemas of one document."""

    def __init__(self, components: Mapping[str, Schema]) -> None:
        self._components = components

    def of(self, schema: Schema) -> Any:
        """Returns a value that fits the schema, None when none can be made up."""
        return self._value("", schema, 0)

    def _value(self, name: str, schema: Schema, depth: int) -> Any:
        if "$ref" in schema:
            schema = self._components[schema["$ref"].removeprefix(REF)] | {k: schema[k] for k in schema if k != "$ref"}
        if "const" in schema or "enum" in schema:
            return _choice(schema)
        if "anyOf" in schema:
            schema = schema | schema["anyOf"][-1]
        make: dict[str, Callable[[], Any]] = {
            "object": lambda: self._object(schema, depth),
            "array": lambda: self._list(name, schema, depth),
            "string": lambda: _text(name, schema),
            "integer": lambda: _number(schema),
            "number": lambda: _number(schema),
            "boolean": lambda: True,
        }
        kind = str(schema.get("type"))
        return make[kind]() if kind in make else None

    def _list(self, name: str, schema: Schema, depth: int) -> list[Any] | None:
        item = self._value(name, schema["items"], depth + 1)
        return None if item is None else [item] * max(1, schema.get("minItems", 1))

    def _object(self, schema: Schema, depth: int) -> Schema | None:
        if depth > _DEEPEST or "properties" not in schema:
            return None
        refused = self._not_chosen(schema)
        needed = set(schema.get("required", ()))
        made: Schema = {}
        for name, inner in schema["properties"].items():
            if name in refused or (name not in needed and (name in _LEFT_OUT or inner.get("readOnly"))):
                continue
            value = self._value(name, inner, depth + 1)
            if value is not None:
                made[name] = value
            elif name in needed:
                return None
        return made

    def _not_chosen(self, schema: Schema) -> set[str]:
        """Returns the members of each oneof but the first."""
        members = (
            [choice["required"][0] for choice in one["oneOf"] if "required" in choice]
            for one in schema.get("allOf", ())
        )
        return {name for names in members for name in names[1:]}


def _choice(schema: Schema) -> Any:
    """Returns the constant, or the first name that is not the one for "not said"."""
    refused = schema.get("not", {}).get("enum", [])
    said = (one for one in schema.get("enum", ()) if one not in refused and not str(one).endswith("_UNSPECIFIED"))
    return schema.get("const", next(said, None))


def _number(schema: Schema) -> Any:
    return schema["maximum"] if schema.get("maximum", 1) < 1 else max(1, schema.get("minimum", 1))


def _text(name: str, schema: Schema) -> str | None:
    if schema.get("contentEncoding") == "base64":
        return _PICTURE
    found = _NAME.match(schema.get("pattern", ""))
    if found:
        return f"{found['collection']}example"
    known = (_BY_NAME.get(name), _BY_FORMAT.get(schema.get("format", "")), *_CANDIDATES)
    return next((text for text in known if text is not None and _fits(text, schema)), None)


def _fits(text: str, schema: Schema) -> bool:
    if not schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text)):
        return False
    usual = _BY_FORMAT.get(schema.get("format", ""))
    return text in (usual, *_BY_NAME.values()) if usual else re.search(schema.get("pattern", ""), text) is not None
