"""The contract's own rules (protovalidate), enforced on every message that comes in.

One native validator serves the whole process: it compiles the rules of a message type at its first use and keeps them.
A message that breaks none costs 1 to 10 µs, and up to 30 µs with large bytes in it, also where no rule is about them: a
type without a single rule is not looked at.
"""

from functools import cache

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from protovalidate import Validator, Violation

from buf.validate import validate_pb2
from services.kit.errors import FieldViolation, InvalidArgument

_VALIDATOR = Validator()


def validate(message: Message) -> None:
    """Check a message against its rules; InvalidArgument names every wrong field by its path."""
    if not has_rules(message.DESCRIPTOR):
        return
    found = _VALIDATOR.collect_violations(message)
    if not found:
        return
    violations = [_violation(one) for one in found]
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    metadata = {"field": first.field} if first.field else {}
    raise InvalidArgument(
        f"{first.field or 'request'}: {first.description}{more}", metadata=metadata, violations=violations
    )


@cache
def has_rules(message: Descriptor) -> bool:
    """Say whether a message type, or any type inside it, has rules of protovalidate."""
    return _has_rules(message, set())


def _has_rules(message: Descriptor, seen: set[str]) -> bool:
    if message.full_name in seen:
        return False
    seen.add(message.full_name)
    if message.GetOptions().HasExtension(validate_pb2.message):
        return True
    if any(oneof.GetOptions().HasExtension(validate_pb2.oneof) for oneof in message.oneofs):
        return True
    return any(
        field.GetOptions().HasExtension(validate_pb2.field)
        or (field.message_type is not None and _has_rules(field.message_type, seen))
        for field in message.fields
    )


def _violation(violation: Violation) -> FieldViolation:
    proto = violation.proto
    return FieldViolation(_path(proto.field), proto.message or proto.rule_id or "is not valid", proto.rule_id or "")


def _path(path: object) -> str:
    """Write a field path the way a caller writes it: `user.emails[1].domain`, `labels["eu"]`."""
    written = ""
    for element in getattr(path, "elements", ()):
        written += f".{element.field_name}" if written else str(element.field_name)
        written += _subscript(getattr(element, "subscript", None))
    return written


def _subscript(subscript: object) -> str:
    if subscript is None:
        return ""
    value = getattr(subscript, "value", subscript)
    return f"[{value!r}]".replace("'", '"') if isinstance(value, str) else f"[{value}]"
