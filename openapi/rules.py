"""protovalidate's rules as keywords of JSON schemas.

What has no keyword of its own stays in the field's comment, which every bound of the contract is said in anyway:
expressions, and limits of numbers that travel as strings. A rule that is in neither list is a finding of `unmapped`,
which the tests keep empty.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.message import Message

from buf.validate import validate_pb2
from openapi.contract import LARGE_INTEGERS, FieldProto, is_repeated

Schema = dict[str, Any]

_FORMATS: Final = {
    "email": "email", "hostname": "hostname", "ipv4": "ipv4", "ipv6": "ipv6", "uri": "uri", "uri_ref": "uri-reference",
    "uuid": "uuid",
}  # fmt: skip
_BOUNDS: Final = {"gte": "minimum", "gt": "exclusiveMinimum", "lte": "maximum", "lt": "exclusiveMaximum"}
_SAID_IN_COMMENTS: Final = frozenset({"cel", "cel_expression", "min_bytes"})
_RESOURCE: Final = re.compile(r"^\^[A-Za-z]+/")
_STRUCTURE: Final = frozenset({"required", "ignore"})
# `\P{Cc}`, everything but control characters, written so that every engine of regular expressions knows it.
_PORTABLE: Final = ((r"\P{Cc}", r"[^\u0000-\u001f\u007f-\u009f]"),)


def rules_of(field: FieldProto) -> validate_pb2.FieldRules:
    """Returns the rules of a field; empty ones when it has none."""
    rules: validate_pb2.FieldRules = field.options.Extensions[validate_pb2.field]
    return rules


def keywords(field: FieldProto, enum_names: dict[int, str]) -> Schema:
    """Returns the keywords that a field's rules add to its schema, those of a list's items under `items`.

    `enum_names` are the names of the values by number, where the field is an enum.
    """
    rules = rules_of(field)
    if is_repeated(field):
        return _list_keywords(field, rules, enum_names)
    found = _scalar_keywords(field, rules, enum_names)
    if found and rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE and field.type == FieldProto.TYPE_STRING:
        return {"anyOf": [{"const": ""}, found]}
    return found


def is_required(field: FieldProto) -> bool:
    """Says whether a request without the field breaks a rule: it must be there, or its zero value is refused."""
    rules = rules_of(field)
    if rules.required:
        return True
    may_be_unset = field.proto3_optional or field.HasField("oneof_index")
    if may_be_unset or rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE:
        return False
    return rules.repeated.min_items > 0 if is_repeated(field) else _zero_is_refused(rules)


def _zero_is_refused(rules: validate_pb2.FieldRules) -> bool:
    match rules.WhichOneof("type"):
        case None:
            return False
        case "string":
            one = rules.string
            formats = (one.email, one.uri, one.uuid, one.hostname, one.ipv4, one.ipv6)
            by_pattern = one.HasField("pattern") and re.search(_portable(one.pattern), "") is None
            return bool(one.min_len or one.len or one.min_bytes or any(formats) or by_pattern)
        case "bytes":
            return rules.bytes.min_len > 0
        case "enum":
            return 0 in rules.enum.not_in
        case kind:
            return _number_refuses_zero(getattr(rules, kind))


def names_a_resource(field: FieldProto) -> bool:
    """Says whether a field's rules make it the name of a resource, `files/{file}`."""
    return _RESOURCE.match(rules_of(field).string.pattern) is not None


def unmapped(field: FieldProto) -> Iterator[str]:
    """Yields the rules of a field that no keyword stands for and no comment has to say."""
    rules = rules_of(field)
    yield from (f"{name.name}" for name, _ in rules.ListFields() if _is_unknown(name.name, name.message_type))
    kind = rules.WhichOneof("type")
    if kind == "repeated":
        yield from _unmapped_scalars(rules.repeated.items, "repeated.items.")
        yield from (
            f"repeated.{rule.name}"
            for rule, _ in rules.repeated.ListFields()
            if rule.name not in ("min_items", "max_items", "unique", "items")
        )
    else:
        yield from _unmapped_scalars(rules, "")


def _unmapped_scalars(rules: validate_pb2.FieldRules, prefix: str) -> Iterator[str]:
    kind = rules.WhichOneof("type")
    if kind is None or kind == "repeated":
        return
    known = {
        "string": {"len", "min_len", "max_len", "max_bytes", "pattern", "in", "const", *_FORMATS},
        "bytes": {"min_len", "max_len"},
        "enum": {"defined_only", "in", "not_in", "const"},
    }.get(kind, {*_BOUNDS, "const", "in"})
    for rule, _ in getattr(rules, kind).ListFields():
        if rule.name not in known | _SAID_IN_COMMENTS:
            yield f"{prefix}{kind}.{rule.name}"


def _is_unknown(name: str, message_type: object) -> bool:
    return message_type is None and name not in _STRUCTURE | _SAID_IN_COMMENTS


def _list_keywords(field: FieldProto, rules: validate_pb2.FieldRules, enum_names: dict[int, str]) -> Schema:
    found: Schema = {}
    if rules.repeated.min_items:
        found["minItems"] = rules.repeated.min_items
    if rules.repeated.HasField("max_items"):
        found["maxItems"] = rules.repeated.max_items
    if rules.repeated.unique:
        found["uniqueItems"] = True
    items = _scalar_keywords(field, rules.repeated.items, enum_names)
    return found | ({"items": items} if items else {})


def _scalar_keywords(field: FieldProto, rules: validate_pb2.FieldRules, enum_names: dict[int, str]) -> Schema:
    match rules.WhichOneof("type"):
        case None:
            return {}
        case "string":
            return _string(rules.string)
        case "bytes":
            return _bytes(rules.bytes)
        case "enum":
            return _enum(rules.enum, enum_names)
        case kind if field.type in LARGE_INTEGERS:
            limits = getattr(rules, kind)
            return {"pattern": "^[0-9]{1,18}$"} if getattr(limits, "gte", 0) >= 0 and limits.HasField("gte") else {}
        case kind:
            limits = getattr(rules, kind)
            given = {rule.name for rule, _ in limits.ListFields()}
            return {word: getattr(limits, rule) for rule, word in _BOUNDS.items() if rule in given} | _choices(limits)


def _string(limits: validate_pb2.StringRules) -> Schema:
    found: Schema = {}
    if limits.min_len or limits.len:
        found["minLength"] = limits.min_len or limits.len
    if limits.max_len or limits.len or limits.max_bytes:
        found["maxLength"] = limits.max_len or limits.len or limits.max_bytes  # a character has at least one byte
    if limits.HasField("pattern"):
        found["pattern"] = _portable(limits.pattern)
    for rule, name in _FORMATS.items():
        if getattr(limits, rule):
            found["format"] = name
    return found | _choices(limits)


def _bytes(limits: validate_pb2.BytesRules) -> Schema:
    """Returns lengths of Base64 text; its padding may be left out."""
    found: Schema = {}
    if limits.min_len:
        found["minLength"] = -(-limits.min_len * 4 // 3)
    if limits.HasField("max_len"):
        found["maxLength"] = -(-limits.max_len // 3) * 4
    return found


def _enum(limits: validate_pb2.EnumRules, names: dict[int, str]) -> Schema:
    if limits.not_in:
        return {"not": {"enum": [names[number] for number in limits.not_in]}}
    allowed: list[int] = list(getattr(limits, "in"))
    return {"enum": [names[number] for number in allowed]} if allowed else {}


def _choices(limits: Message) -> Schema:
    allowed = list(getattr(limits, "in"))
    if allowed:
        return {"enum": allowed}
    return {"const": getattr(limits, "const")} if limits.HasField("const") else {}  # noqa: B009 -- no such attribute


def _portable(pattern: str) -> str:
    for ours, everybodys in _PORTABLE:
        pattern = pattern.replace(ours, everybodys)
    return pattern


def _number_refuses_zero(limits: Message) -> bool:
    given = {rule.name: value for rule, value in limits.ListFields()}
    if any(isinstance(value, Message) for value in given.values()):
        return False  # limits of a Duration or Timestamp: leaving it out is allowed unless it is required
    return bool(given.get("gte", 0) > 0 or given.get("gt", -1) >= 0 or given.get("const", 0) != 0)
