"""A compiled contract as the rules want to read it: methods, messages and comments by full name."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from google.protobuf import descriptor_pb2

OWN_PACKAGE = "candela."
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES, _FILE_EXTENSIONS = 4, 5, 6, 7
_MESSAGE_FIELDS, _MESSAGE_NESTED, _MESSAGE_ENUMS, _MESSAGE_EXTENSIONS = 2, 3, 4, 6
_ENUM_VALUES, _SERVICE_METHODS = 2, 2


@dataclass(frozen=True)
class Method:
    """An RPC, where it was found, and whether its file belongs to the internal module."""

    name: str
    descriptor: descriptor_pb2.MethodDescriptorProto
    internal: bool


@dataclass(frozen=True)
class Field:
    """A field of a message, by its full name (`candela.user.v1.User.email`)."""

    name: str
    descriptor: descriptor_pb2.FieldDescriptorProto


@dataclass(frozen=True)
class Declaration:
    """Anything that must be explained: what it is, its full name and the comment before or behind it."""

    kind: str
    name: str
    comment: str


class Contract:
    """The files of ours in a descriptor set. Files of others are looked at only to resolve types."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet, internal: Iterable[str] = ()) -> None:
        """Takes the set and the names of the files that belong to the internal module."""
        self._all = files.file
        self._own = [file for file in files.file if f"{file.package}.".startswith(OWN_PACKAGE)]
        self._internal = frozenset(internal)

    @cached_property
    def methods(self) -> list[Method]:
        return [
            Method(f"{file.package}.{service.name}.{method.name}", method, file.name in self._internal)
            for file in self._own
            for service in file.service
            for method in service.method
        ]

    @cached_property
    def messages(self) -> dict[str, descriptor_pb2.DescriptorProto]:
        """Every message of the set, others' too, by `.full.name` as fields and methods refer to it."""
        found: dict[str, descriptor_pb2.DescriptorProto] = {}
        for file in self._all:
            found.update(_messages(f".{file.package}", file.message_type))
        return found

    @cached_property
    def fields(self) -> list[Field]:
        """Every field of a message of ours, the halves of map entries included."""
        own = (_messages(f".{file.package}", file.message_type) for file in self._own)
        return [
            Field(f"{name.removeprefix('.')}.{field.name}", field)
            for messages in own
            for name, message in messages
            for field in message.field
        ]

    def declarations(self) -> Iterator[Declaration]:
        """Yields services, RPCs, messages, enums, enum values, fields and extensions of ours with their comments."""
        for file in self._own:
            yield from _Comments(file).declarations()


class _Comments:
    """Walks one file by the paths under which its comments are stored (see SourceCodeInfo.Location)."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        self._file = file
        self._comments = {
            tuple(location.path): f"{location.leading_comments}{location.trailing_comments}".strip()
            for location in file.source_code_info.location
        }

    def declarations(self) -> Iterator[Declaration]:
        package = self._file.package
        for index, service in enumerate(self._file.service):
            path = (_FILE_SERVICES, index)
            yield self._declare("service", f"{package}.{service.name}", path)
            for number, method in enumerate(service.method):
                yield self._declare("RPC", f"{package}.{service.name}.{method.name}", (*path, _SERVICE_METHODS, number))
        for index, message in enumerate(self._file.message_type):
            yield from self._message(message, package, (_FILE_MESSAGES, index))
        for index, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, package, (_FILE_ENUMS, index))
        for index, extension in enumerate(self._file.extension):
            yield self._declare("field", f"{package}.{extension.name}", (_FILE_EXTENSIONS, index))

    def _message(
        self, message: descriptor_pb2.DescriptorProto, scope: str, path: tuple[int, ...]
    ) -> Iterator[Declaration]:
        if message.options.map_entry:
            return
        name = f"{scope}.{message.name}"
        yield self._declare("message", name, path)
        for index, field in enumerate(message.field):
            yield self._declare("field", f"{name}.{field.name}", (*path, _MESSAGE_FIELDS, index))
        for index, extension in enumerate(message.extension):
            yield self._declare("field", f"{name}.{extension.name}", (*path, _MESSAGE_EXTENSIONS, index))
        for index, nested in enumerate(message.nested_type):
            yield from self._message(nested, name, (*path, _MESSAGE_NESTED, index))
        for index, enum in enumerate(message.enum_type):
            yield from self._enum(enum, name, (*path, _MESSAGE_ENUMS, index))

    def _enum(
        self, enum: descriptor_pb2.EnumDescriptorProto, scope: str, path: tuple[int, ...]
    ) -> Iterator[Declaration]:
        yield self._declare("enum", f"{scope}.{enum.name}", path)
        for index, value in enumerate(enum.value):
            yield self._declare("enum value", f"{scope}.{enum.name}.{value.name}", (*path, _ENUM_VALUES, index))

    def _declare(self, kind: str, name: str, path: tuple[int, ...]) -> Declaration:
        return Declaration(kind, name, self._comments.get(path, ""))


def _messages(
    scope: str, messages: Iterable[descriptor_pb2.DescriptorProto]
) -> Iterator[tuple[str, descriptor_pb2.DescriptorProto]]:
    for message in messages:
        name = f"{scope}.{message.name}"
        yield name, message
        yield from _messages(name, message.nested_type)
