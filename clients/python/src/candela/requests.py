"""Requests made from what callers give, the same for both clients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from buf.validate import validate_pb2

CURRENT: Final = "sessions/current"

# A document, picture or file as its bytes, or as the path of the file that holds them.
Source = bytes | str | PathLike[str]

Req = TypeVar("Req", bound=Message)


@dataclass(frozen=True, slots=True)
class Change:
    """New values of a resource: `keys` say which one, of `changes` those that are not None are made.

    `mask` names what to change when it is something else; what it names and has no value is cleared.
    """

    keys: Mapping[str, Any]
    changes: Mapping[str, Any]
    mask: Sequence[str] | None = None


def build(kind: type[Req], /, **given: Any) -> Req:
    """Returns a request of what was given; None stands for what was not.

    A `Change` becomes the resource and `update_mask`; datetime, timedelta, paths and names of enum values become what
    the contract has for them. Raises TypeError unless of every choice exactly one is given, ValueError for an unknown
    name of an enum value or a time without a zone, OSError when a path cannot be read.
    """
    shape: Any = kind.DESCRIPTOR
    _choose(shape, given)
    for name, value in tuple(given.items()):
        if isinstance(value, Change):
            changed = [one for one, new in value.changes.items() if new is not None]
            if not changed and value.mask is None:
                raise TypeError(f"give at least one of {', '.join(value.changes)}")
            given["update_mask"] = FieldMask(paths=changed if value.mask is None else value.mask)
            resource = shape.fields_by_name[name].message_type
            given[name] = _values(resource, {**value.keys, **value.changes})
    return kind(**_values(shape, given))


def read(source: Source) -> bytes:
    """Returns the bytes of a document, read from its file where a path is given; raises OSError."""
    return bytes(source) if isinstance(source, bytes | bytearray | memoryview) else Path(source).read_bytes()


def _values(kind: Descriptor, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a message of this kind is made from."""
    known = kind.fields_by_name
    return {name: _value(known[name], value) for name, value in given.items() if value is not None}


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.is_repeated:
        if isinstance(value, str | bytes):
            raise TypeError(f"{field.name} takes several values: give a list")
        if field.enum_type is not None:
            return [_enum(field.enum_type, one) for one in value]
        return value
    if field.enum_type is not None:
        return _enum(field.enum_type, value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return read(value)
    if isinstance(value, datetime):
        return _timestamp(field, value)
    return value


def _enum(kind: EnumDescriptor, value: int | str) -> int:
    """Returns the number of a value given as such, as its name, or as its name without what all names begin with."""
    if not isinstance(value, str):
        return value
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED") if 0 in kind.values_by_number else ""
    found = kind.values_by_name.get(value) or kind.values_by_name.get(f"{prefix}{value}")
    if found is None:
        names = ", ".join(one.name.removeprefix(prefix) for one in kind.values[1:])
        raise ValueError(f"{value!r} is none of {names}")
    number: int = found.number
    return number


def _timestamp(field: FieldDescriptor, value: datetime) -> Timestamp:
    if value.tzinfo is None:
        raise ValueError(f"{field.name} has no time zone; datetime.now(UTC) has one")
    made = Timestamp()
    made.FromDatetime(value)
    return made


def _choose(kind: Descriptor, given: Mapping[str, Any]) -> None:
    """Raises TypeError when two members of one choice are given, or none of a choice that has to be made."""
    for choice in kind.oneofs:
        members = [one.name for one in choice.fields]
        chosen = [name for name in members if given.get(name) is not None]
        required = choice.GetOptions().Extensions[validate_pb2.oneof].required
        if len(chosen) > 1 or (required and not chosen):
            raise TypeError(f"give exactly one of {', '.join(members)}")
