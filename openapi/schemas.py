"""Messages as JSON schemas, in the form that ProtoJSON gives them."""

from typing import Any, Final

from buf.validate import validate_pb2
from openapi.contract import LARGE_INTEGERS, SMALL_INTEGERS, UNSIGNED, Contract, FieldProto, is_repeated
from openapi.rules import Schema, is_required, keywords

REF: Final = "#/components/schemas/"

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
    """Makes schemas and collects those that are referred to as components."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self.components: dict[str, Schema] = {}

    def reference(self, name: str) -> Schema:
        """Returns a reference to a message or enum and makes it a component; well-known types are written in place."""
        if name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        if name not in self.components:
            self.components[name] = {}  # stands while it is made, since messages may hold themselves
            made = self._enum(name) if name in self._contract.enums else self.message(name)
            self.components[name] = made
        return {"$ref": f"{REF}{name}"}

    def message(self, name: str, without: frozenset[str] = frozenset()) -> Schema:
        """Returns the schema of a message, without the fields that travel elsewhere."""
        properties: Schema = {}
        required: list[str] = []
        for field, comment in self._contract.fields(name):
            if field.name in without:
                continue
            properties[field.json_name] = self.field(field, comment)
            if is_required(field):
                required.append(field.json_name)
        schema: Schema = {"type": "object", "description": self._description(name), "properties": properties}
        if required:
            schema["required"] = required
        choices = self._oneofs(name, without)
        if choices:
            schema["allOf"] = choices
        return schema

    def field(self, field: FieldProto, comment: str) -> Schema:
        """Returns the schema of one field, with its comment and its limits."""
        entry = self._map_entry(field)
        if entry is not None:
            return {"type": "object", "description": comment, "additionalProperties": self._value(entry)}
        limits = keywords(field, self._enum_names(field))
        value = self._value(field)
        if is_repeated(field):
            items = limits.pop("items", {})
            return {"type": "array", "description": comment, "items": value | items, **limits}
        return value | {"description": comment} | limits

    def _value(self, field: FieldProto) -> Schema:
        if field.type in (FieldProto.TYPE_MESSAGE, FieldProto.TYPE_ENUM):
            return self.reference(field.type_name.removeprefix("."))
        if field.type in LARGE_INTEGERS:
            sign = "" if field.type in UNSIGNED else "-?"
            return {"type": "string", "format": "int64", "pattern": f"^{sign}[0-9]+$"}
        if field.type in SMALL_INTEGERS:
            return {"type": "integer"} | ({"minimum": 0} if field.type in UNSIGNED else {"format": "int32"})
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
