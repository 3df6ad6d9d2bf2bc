"""The public contract as the suite needs it: methods by name, their message classes, messages as ProtoJSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from google.api.httpbody_pb2 import HttpBody
from google.protobuf import descriptor_pb2, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from candela.auth.v1 import access_pb2

_PUBLIC: Final = Path(__file__).parents[2] / "protos/public"


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC of the public contract."""

    descriptor: MethodDescriptor
    request: type[Message]
    response: type[Message]

    @property
    def service(self) -> str:
        """The full name of its service."""
        return str(self.descriptor.containing_service.full_name)

    @property
    def name(self) -> str:
        """What the contract calls it, such as `candela.user.v1.UserService/GetUser`."""
        return f"{self.service}/{self.descriptor.name}"

    @property
    def file(self) -> FileDescriptor:
        return self.descriptor.containing_service.file

    @property
    def streams(self) -> bool:
        """Whether it answers with a stream."""
        return bool(self.descriptor.server_streaming)

    @property
    def is_raw(self) -> bool:
        """Whether it answers with bytes that are no message: a file."""
        return self.response.DESCRIPTOR.full_name == HttpBody.DESCRIPTOR.full_name

    @property
    def options(self) -> descriptor_pb2.MethodOptions:
        options: descriptor_pb2.MethodOptions = self.descriptor.GetOptions()
        return options

    @property
    def is_public(self) -> bool:
        """Whether it is called without a token."""
        level: int = self.options.Extensions[access_pb2.access].level
        return level == access_pb2.Access.LEVEL_PUBLIC

    @property
    def changes_nothing(self) -> bool:
        """Whether one preparation serves any number of calls."""
        return self.options.idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS

    @property
    def terminal_events(self) -> tuple[str, ...]:
        """The ways in which its stream can end by contract: `completed` and `error`, or none."""
        names = {field.name for field in self.response.DESCRIPTOR.fields}
        return ("completed", "error") if self.streams and {"completed", "error"} <= names else ()


def _methods() -> Iterator[Method]:
    for path in sorted(_PUBLIC.rglob("*_service.proto")):
        module = path.relative_to(_PUBLIC).as_posix().removesuffix(".proto").replace("/", ".") + "_pb2"
        file: FileDescriptor = import_module(module).DESCRIPTOR
        for service in file.services_by_name.values():
            for method in service.methods:
                yield Method(
                    method,
                    message_factory.GetMessageClass(method.input_type),
                    message_factory.GetMessageClass(method.output_type),
                )


METHODS: Final = {method.name: method for method in _methods()}


def populated(message: Message) -> dict[str, Any]:
    """Return a message as ProtoJSON, without what is not populated."""
    found: dict[str, Any] = json_format.MessageToDict(message)
    return found


def printed(message: Message) -> dict[str, Any]:
    """Return a message as ProtoJSON with its zero values, as the edge writes it."""
    found: dict[str, Any] = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return found


def strange_fields(message: Message, path: str = "") -> Iterator[str]:
    """Yield where a message that was received holds fields that the contract does not have."""
    unknown: Any = UnknownFieldSet(message)  # its types leave out that it is a sequence
    for field in unknown:
        yield f"{path}: an unknown field {field.field_number}"
    for descriptor, value in message.ListFields():
        if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
            for number, inner in enumerate(_inner_messages(value)):
                yield from strange_fields(inner, f"{path}.{descriptor.json_name}[{number}]")


def _inner_messages(value: Any) -> list[Message]:
    if isinstance(value, Message):
        return [value]
    inner = value.values() if hasattr(value, "values") else value
    return [one for one in inner if isinstance(one, Message)]
