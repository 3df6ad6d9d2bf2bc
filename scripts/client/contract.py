"""The contract as the client's generator wants to read it: services with their options, messages with their comments.

It is read from the descriptor set alone, because the generated code does not exist yet when this runs.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

_MESSAGES, _SERVICES = 4, 6
_FIELDS, _NESTED, _METHODS = 2, 3, 2
_PUBLIC: Final = 1  # candela.auth.v1.Access.LEVEL_PUBLIC
_AUTHENTICATED: Final = 2


@dataclass(frozen=True)
class Rpc:
    """One method of a service. `own` says that it is about what is the caller's own."""

    service: str
    name: str
    file: FileDescriptor
    request: Descriptor
    response: Descriptor
    client_streams: bool
    server_streams: bool
    path: str
    own: bool
    comment: str

    @property
    def full_name(self) -> str:
        """`candela.user.v1.UserService/GetUser`."""
        return f"{self.file.package}.{self.service}/{self.name}"


class Contract:
    """Everything in a descriptor set, comments included."""

    def __init__(self, image: Path) -> None:
        files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file
        self._pool = DescriptorPool()
        self._comments: dict[str, str] = {}
        self._files: dict[str, FileDescriptor] = {}
        for file in files:
            self._pool.Add(file)
            self._comments.update(_comments(file))
        for file in files:
            self._files[file.name] = self._pool.FindFileByName(file.name)
        self._sources = {file.name: file for file in files}

    def comment(self, full_name: str) -> str:
        """Returns what is written above a declaration, without line breaks inside a paragraph."""
        return self._comments.get(full_name, "")

    def rpcs(self, public: Collection[str]) -> list[Rpc]:
        """Returns the methods in the files that are named, in the order of files and declarations."""
        return [
            self._rpc(file, service, method)
            for name, file in sorted(self._files.items())
            if name in public
            for service in self._sources[name].service
            for method in service.method
        ]

    def _rpc(
        self,
        file: FileDescriptor,
        service: descriptor_pb2.ServiceDescriptorProto,
        method: descriptor_pb2.MethodDescriptorProto,
    ) -> Rpc:
        options = self._options("MethodOptions", method.options)
        access, http = self._option(options, "candela.auth.v1.access"), self._option(options, "google.api.http")
        return Rpc(
            service=service.name,
            name=method.name,
            file=file,
            request=self._pool.FindMessageTypeByName(method.input_type[1:]),
            response=self._pool.FindMessageTypeByName(method.output_type[1:]),
            client_streams=method.client_streaming,
            server_streams=method.server_streaming,
            path=getattr(http, http.WhichOneof("pattern") or "get") if http is not None else "",
            own=access is None or access.level in (_PUBLIC, _AUTHENTICATED),
            comment=self.comment(f"{file.package}.{service.name}.{method.name}"),
        )

    def required(self, field: FieldDescriptor) -> bool:
        """Tells whether a call without the field is refused: by its rules, or because its comment says so."""
        if field.containing_oneof is not None:
            return False
        if "Required." in self.comment(field.full_name):
            return True
        rules = self._option(self._options("FieldOptions", field.GetOptions()), "buf.validate.field")
        if rules is None or rules.ignore:
            return False
        return bool(rules.required or rules.string.min_len or rules.bytes.min_len or rules.repeated.min_items)

    def _options(self, kind: str, options: Any) -> Any:
        """Returns options again as a message of this pool, which knows the contract's own extensions."""
        return self._classes(kind).FromString(options.SerializeToString())

    def _classes(self, kind: str) -> Any:
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"google.protobuf.{kind}"))

    def _option(self, options: Any, name: str) -> Any:
        extension = self._extensions.get(name)
        return options.Extensions[extension] if extension is not None and options.HasExtension(extension) else None

    @cached_property
    def _extensions(self) -> dict[str, FieldDescriptor]:
        found: dict[str, FieldDescriptor] = {}
        for name in ("candela.auth.v1.access", "google.api.http", "buf.validate.field"):
            try:
                found[name] = self._pool.FindExtensionByName(name)
            except KeyError:  # a contract that does without it
                continue
            message_factory.GetMessageClass(message_of(found[name]))
        return found


def message_of(field: FieldDescriptor) -> Descriptor:
    """Returns the type of a field that is a message; raises TypeError for another one."""
    kind: Descriptor | None = field.message_type
    if kind is None:
        raise TypeError(f"{field.full_name} is no message")
    return kind


def python_module(file: FileDescriptor) -> tuple[str, str]:
    """Returns where a file's generated code is, and what it is called there."""
    folder, _, stem = file.name.removesuffix(".proto").rpartition("/")
    return folder.replace("/", "."), f"{stem}_pb2"


def qualified(kind: Descriptor | EnumDescriptor) -> str:
    """Returns a type's name inside its module: `Announcement.Severity`."""
    package = kind.file.package
    return kind.full_name[len(package) + 1 :] if package else kind.full_name


def _comments(file: descriptor_pb2.FileDescriptorProto) -> dict[str, str]:
    """Returns the comments of services, methods, messages and fields by full name."""
    found: dict[tuple[int, ...], str] = {}
    for location in file.source_code_info.location:
        text = (location.leading_comments or location.trailing_comments).strip()
        found[tuple(location.path)] = " ".join(text.split())
    named: dict[str, str] = {}
    for index, service in enumerate(file.service):
        named[f"{file.package}.{service.name}"] = found.get((_SERVICES, index), "")
        for number, method in enumerate(service.method):
            path = (_SERVICES, index, _METHODS, number)
            named[f"{file.package}.{service.name}.{method.name}"] = found.get(path, "")

    def walk(message: descriptor_pb2.DescriptorProto, scope: str, path: tuple[int, ...]) -> None:
        name = f"{scope}.{message.name}"
        for index, field in enumerate(message.field):
            named[f"{name}.{field.name}"] = found.get((*path, _FIELDS, index), "")
        for index, nested in enumerate(message.nested_type):
            walk(nested, name, (*path, _NESTED, index))

    for index, message in enumerate(file.message_type):
        walk(message, file.package, (_MESSAGES, index))
    return named
