"""Messages as JSON schemas, in the form that ProtoJSON gives them."""

from typing import Any, Final

from buf.validate import validate_pb2
from openapi.contract import LARGE_INTEGERS, SMALL_INTEGERS, UNSIGNED, Contract, FieldProto, is_repeated
from openapi.rules import Schema, is_required, keywords

REF: Final = "#/components/schemas/"

_OUTPUT_ONLY: Final = "Output only."
_DIGITS: Final = {"request": 18, "reply": 20}
"""Digits of a 64-bit integer: in a request as many as always fit, in a reply as many as there may be."""
_BASE64: Final = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
"""What to send. Padding may be left out, and `-` and `_` stand for `+` and `/` as well."""

_WELL_KNOWN: Final[dict[str, Schema]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time", "description": "RFC 3339, in UTC."},
    "google.protobuf.Duration": {
        "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$", "description": "Seconds with the unit, `1.5s`.",
    },
    "google.protobuf.FieldMask": {"type": "string", "description": "Names of fields, separated by commas."},
    "google.protobuf.Empty": {"type": "object", "additionalProperties": False},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Any": {
        "type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"],
        "description": "A message of any type, whose address stands in `@type`.",
    },
    "google.protobuf.BoolValue": {"type": ["boolean", "null"]},
    "google.protobuf.StringValue": {"type": ["string", "null"]},
    "google.protobuf.BytesValue": {"type": ["string", "null"], "contentEncoding": "base64"},
    "google.protobuf.DoubleValue": {"type": ["number", "null"]},
    "google.protobuf.FloatValue": {"type": ["number", "null"]},
    "google.protobuf.Int32Value": {"type": ["integer", "null"]},
    "google.protobuf.UInt32Value": {"type": ["integer", "null"]},
    "google.protobuf.Int64Value": {"type": ["string", "null"]},
    "google.protobuf.UInt64Value": {"type": ["string", "null"]},
}  # fmt: skip

_SCALARS: Final[dict[int, Schema]] = {
    FieldProto.TYPE_STRING: {"type": "string"},
    FieldProto.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldProto.TYPE_BOOL: {"type": "boolean"},
    FieldProto.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldProto.TYPE_DOUBLE: {"type": "number", "format": "double"},
}


class Schemas:
    """Makes schemas and collects those that are referred to as components.

    A message in a reply is not quite the same as in a request: replies always write the fields that are zero, requests
    have limits and may leave most out. Where a message is used both ways it becomes two components, the one for
    requests with `Input` behind its name; `replies` are the messages that replies hold.
    """

    def __init__(self, contract: Contract, replies: frozenset[str] = frozenset()) -> None:
        self._contract = contract
        self._replies = replies
        self.components: dict[str, Schema] = {}

    def reference(self, name: str, *, reply: bool = False) -> Schema:
        """Returns a reference to a message or enum and makes it a component; well-known types are written in place."""
        if name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        is_enum = name in self._contract.enums
        component = f"{name}Input" if not (reply or is_enum) and name in self._replies else name
        if component not in self.components:
            self.components[component] = {}  # stands while it is made, since messages may hold themselves
            made = self._enum(name) if is_enum else self.message(name, reply=reply)
            self.components[component] = made
        return {"$ref": f"{REF}{component}"}

    def message(self, name: str, without: frozenset[str] = frozenset(), *, reply: bool = False) -> Schema:
        """Returns the schema of a message, without the fields that travel elsewhere."""
        properties: Schema = {}
        required: list[str] = []
        for field, comment in self._contract.fields(name):
            if field.name in without:
                continue
            properties[field.json_name] = self.field(field, comment, reply=reply)
            if always_written(field) if reply else is_required(field):
                required.append(field.json_name)
        schema: Schema = {"type": "object", "description": self._description(name), "properties": properties}
        if required:
            schema["required"] = required
        choices = self._oneofs(name, without)
        if choices:
            schema["allOf"] = choices
        return schema

    def field(self, field: FieldProto, comment: str, *, reply: bool = False) -> Schema:
        """Returns the schema of one field, with its comment and its limits."""
        about: Schema = {"description": comment} | ({"readOnly": True} if _OUTPUT_ONLY in comment else {})
        entry = self._map_entry(field)
        if entry is not None:
            return {"type": "object", **about, "additionalProperties": self._value(entry, reply=reply)}
        limits = keywords(field, self._enum_names(field))
        value = self._value(field, reply=reply)
        if is_repeated(field):
            items = limits.pop("items", {})
            return {"type": "array", **about, "items": value | items, **limits}
        return value | about | limits

    def _value(self, field: FieldProto, *, reply: bool) -> Schema:
        if field.type in (FieldProto.TYPE_MESSAGE, FieldProto.TYPE_ENUM):
            return self.reference(field.type_name.removeprefix("."), reply=reply)
        if field.type in LARGE_INTEGERS:
            sign, digits = "" if field.type in UNSIGNED else "-?", _DIGITS["reply" if reply else "request"]
            return {"type": "string", "format": "int64", "pattern": f"^{sign}[0-9]{{1,{digits}}}$"}
        if field.type in SMALL_INTEGERS:
            low, high = (0, 2**32 - 1) if field.type in UNSIGNED else (-(2**31), 2**31 - 1)
            return {"type": "integer", "format": "int32", "minimum": low, "maximum": high}
        if field.type == FieldProto.TYPE_BYTES and not reply:
            return _SCALARS[field.type] | {"pattern": _BASE64}
        return dict(_SCALARS[field.type])

    def _enum(self, name: str) -> Schema:
        """Returns the names of an enum; what each stands for is told in the description."""
        values = self._contract.enums[name].value
        lines = [f"* `{value.name}`: {self._contract.comment(f'{name}.{value.name}')}" for value in values]
        description = "\n".join([self._contract.comment(name), "", *lines])
        return {"type": "string", "description": description, "enum": [value.name for value in values]}

    def _enum_names(self, field: FieldProto) -> dict[int, str]:
        enum = self._contract.enums.get(field.type_name.removeprefix("."))
        return {} if enum is None else {value.number: value.name for value in enum.value}

    def _map_entry(self, field: FieldProto) -> FieldProto | None:
        """Returns the value's field when a field is a map, None otherwise."""
        message = self._contract.messages.get(field.type_name.removeprefix("."))
        return message.field[1] if message is not None and message.options.map_entry else None

    def _oneofs(self, name: str, without: frozenset[str]) -> list[Schema]:
        """Returns one condition for each oneof: at most one of its members, or exactly one where it is required."""
        message = self._contract.messages[name]
        found: list[Schema] = []
        for number, oneof in enumerate(message.oneof_decl):
            members = [
                field.json_name
                for field in message.field
                if field.HasField("oneof_index") and field.oneof_index == number and not field.proto3_optional
            ]
            if not members or without & set(members):
                continue
            choices: list[Schema] = [{"required": [member]} for member in members]
            if not oneof.options.Extensions[validate_pb2.oneof].required:
                choices.append({"not": {"anyOf": [{"required": [member]} for member in members]}})
            found.append({"oneOf": choices})
        return found

    def _description(self, name: str) -> str:
        """Returns a message's comment and the conditions that no keyword can say."""
        rules: Any = self._contract.messages[name].options.Extensions[validate_pb2.message]
        conditions = [f"Rule: {one.message}." for one in rules.cel if one.message]
        return "\n\n".join(filter(None, [self._contract.comment(name), *conditions]))


def always_written(field: FieldProto) -> bool:
    """Says whether a reply has the field whatever its value: the gateway writes zeros, empty texts and empty lists."""
    if is_repeated(field):
        return True
    return field.type != FieldProto.TYPE_MESSAGE and not field.HasField("oneof_index")
