"""The contract's own rules (protovalidate), enforced on every message that comes in.

One native validator serves the whole process: it compiles the rules of a message type at its first use and keeps them.
A message that breaks none costs 1 to 10 µs.
"""

from google.protobuf.message import Message
from protovalidate import Validator, Violation

from services.kit.errors import FieldViolation, InvalidArgument

_VALIDATOR = Validator()


def validate(message: Message) -> None:
    """Check a message against its rules; InvalidArgument names every wrong field by its path."""
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
