"""A compiled contract with its comments, by full name."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import google.api.annotations_pb2  # noqa: F401 -- for its effect, as said
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

# Options are read as fields of descriptors once their extensions are known, which importing these makes them.

FileSet = descriptor_pb2.FileDescriptorSet
MessageProto = descriptor_pb2.DescriptorProto
EnumProto = descriptor_pb2.EnumDescriptorProto
FieldProto = descriptor_pb2.FieldDescriptorProto
MethodProto = descriptor_pb2.MethodDescriptorProto

_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES = 4, 5, 6
_MESSAGE_FIELDS, _MESSAGE_NESTED, _MESSAGE_ENUMS = 2, 3, 4
_ENUM_VALUES, _SERVICE_METHODS = 2, 2
_OWN: Final = "candela."
_NAME: Final = re.compile(r"([A-Za-z]+)/\{([a-z_]+)\}")


class ContractError(Exception):
    """The descriptor set cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service, its comment, and its methods."""

    name: str
    comment: str
    methods: tuple["Method", ...]


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC and its comment."""

    service: str
    comment: str
    proto: MethodProto


class Contract:
    """Messages, enums and services of a descriptor set, each by its full name without a leading dot."""

    def __init__(self, files: FileSet) -> None:
        self.messages: dict[str, MessageProto] = {}
        self.enums: dict[str, EnumProto] = {}
        self.services: dict[str, Service] = {}
        self._comments: dict[str, str] = {}
        for file in files.file:
            self._take(file)

    @classmethod
    def read(cls, path: Path) -> "Contract":
        """Reads a descriptor set that was written with source information; raises ContractError."""
        try:
            return cls(FileSet.FromString(path.read_bytes()))
        except FileNotFoundError as error:
            raise ContractError(f"{path} is missing: run `make generate`") from error
        except DecodeError as error:
            raise ContractError(f"{path} is no descriptor set: run `make generate`") from error

    def comment(self, name: str) -> str:
        """Returns the comment of a message, field, enum or enum value; empty when there is none."""
        return self._comments.get(name, "")

    @cached_property
    def collections(self) -> dict[str, str]:
        """What the ids of each collection are called: `users` to `user`, as in the `users/{user}` of comments."""
        own = (comment for name, comment in self._comments.items() if name.startswith(_OWN))
        written = Counter(found for comment in own for found in _NAME.findall(comment))
        return {collection: part for (collection, part), _ in reversed(written.most_common())}

    def reachable(self, message: str, seen: set[str] | None = None) -> frozenset[str]:
        """Returns the names of a message and of all messages inside it."""
        seen = set() if seen is None else seen
        if message not in seen and message in self.messages:
            seen.add(message)
            for field in self.messages[message].field:
                self.reachable(field.type_name.removeprefix("."), seen)
        return frozenset(seen)

    def _take(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        comments = {tuple(one.path): _text(one.leading_comments) for one in file.source_code_info.location}
        for number, message in enumerate(file.message_type):
            self._take_message(file.package, message, (_FILE_MESSAGES, number), comments)
        for number, enum in enumerate(file.enum_type):
            self._take_enum(file.package, enum, (_FILE_ENUMS, number), comments)
        for number, service in enumerate(file.service):
            path = (_FILE_SERVICES, number)
            name = f"{file.package}.{service.name}"
            methods = tuple(
                Method(name, comments.get((*path, _SERVICE_METHODS, place), ""), method)
                for place, method in enumerate(service.method)
            )
            self.services[name] = Service(name, comments.get(path, ""), methods)

    def _take_message(
        self, scope: str, message: MessageProto, path: tuple[int, ...], comments: dict[tuple[int, ...], str]
    ) -> None:
        name = f"{scope}.{message.name}"
        self.messages[name] = message
        self._comments[name] = comments.get(path, "")
        for number, field in enumerate(message.field):
            self._comments[f"{name}.{field.name}"] = comments.get((*path, _MESSAGE_FIELDS, number), "")
        for number, nested in enumerate(message.nested_type):
            self._take_message(name, nested, (*path, _MESSAGE_NESTED, number), comments)
        for number, enum in enumerate(message.enum_type):
            self._take_enum(name, enum, (*path, _MESSAGE_ENUMS, number), comments)

    def _take_enum(
        self, scope: str, enum: EnumProto, path: tuple[int, ...], comments: dict[tuple[int, ...], str]
    ) -> None:
        name = f"{scope}.{enum.name}"
        self.enums[name] = enum
        self._comments[name] = comments.get(path, "")
        for number, value in enumerate(enum.value):
            self._comments[f"{name}.{value.name}"] = comments.get((*path, _ENUM_VALUES, number), "")

    def fields(self, message: str) -> Iterator[tuple[FieldProto, str]]:
        """Yields the fields of a message with their comments."""
        for field in self.messages[message].field:
            yield field, self.comment(f"{message}.{field.name}")


# Scalar kinds by what ProtoJSON makes of them.
SMALL_INTEGERS: Final = frozenset(
    {
        FieldProto.TYPE_INT32,
        FieldProto.TYPE_SINT32,
        FieldProto.TYPE_SFIXED32,
        FieldProto.TYPE_UINT32,
        FieldProto.TYPE_FIXED32,
    }
)
LARGE_INTEGERS: Final = frozenset(
    {
        FieldProto.TYPE_INT64,
        FieldProto.TYPE_SINT64,
        FieldProto.TYPE_SFIXED64,
        FieldProto.TYPE_UINT64,
        FieldProto.TYPE_FIXED64,
    }
)
UNSIGNED: Final = frozenset(
    {FieldProto.TYPE_UINT32, FieldProto.TYPE_FIXED32, FieldProto.TYPE_UINT64, FieldProto.TYPE_FIXED64}
)


def is_repeated(field: FieldProto) -> bool:
    return field.label == FieldProto.LABEL_REPEATED


def _text(comment: str) -> str:
    """Returns a comment as one paragraph a line, without the column that protoc keeps."""
    paragraphs = [
        " ".join(line.strip() for line in paragraph.splitlines()) for paragraph in comment.strip().split("\n\n")
    ]
    return "\n\n".join(paragraphs)
