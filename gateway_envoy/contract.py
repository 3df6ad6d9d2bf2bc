"""What the gateway needs to know of the contract, read from a descriptor set: methods, HTTP rules, who may call."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

_ACCESS: Final = "candela.auth.v1.access"
_HTTP: Final = "google.api.http"
_HTTP_BODY: Final = "google.api.HttpBody"
_VERBS: Final = ("get", "put", "post", "delete", "patch")
_PACKAGE_PARTS: Final = 3  # candela.<server>.v1


class Access(Enum):
    """The levels of `candela.auth.v1.Access`, by their numbers."""

    UNSPECIFIED = 0
    PUBLIC = 1
    AUTHENTICATED = 2
    PERMISSION = 3
    SERVICE = 4


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One `google.api.http` binding: the verb in capitals and the path template."""

    verb: str
    template: str


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC as the gateway sees it."""

    service: str
    """Full name of its service, such as `candela.user.v1.UserService`."""
    name: str
    server: str
    """The process that serves it: the second part of the package (`user`)."""
    access: Access
    rules: tuple[HttpRule, ...]
    streams_in: bool
    streams_out: bool
    idempotent: bool
    """A repeat does no harm, given that it carries the same request_id."""
    read_only: bool
    """A repeat does no harm at all."""
    """Whether the contract says that a repeat has no further effect."""
    takes_files: bool
    """Whether its request has room for a file's bytes, so that bodies may be large."""

    @property
    def path(self) -> str:
        """The gRPC path, `/package.Service/Method`."""
        return f"/{self.service}/{self.name}"


class ContractError(Exception):
    """The descriptor set cannot be used; the message says what is missing."""


def read_contract(path: Path) -> tuple[Method, ...]:
    """Return the methods of all `candela.*` services in a descriptor set, in the set's order.

    Raises ContractError when the file is missing, is no descriptor set, or lacks the access option.
    """
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    except FileNotFoundError as error:
        raise ContractError(f"{path} is missing: run `make generate`") from error
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    try:
        reader = _OptionReader(pool)
    except KeyError as error:
        raise ContractError(f"{path} does not define {error}: every method needs its access option") from error
    return tuple(reader.method(pool, file, service, method) for file, service, method in _walk(files))


def _walk(
    files: descriptor_pb2.FileDescriptorSet,
) -> Iterator[
    tuple[
        descriptor_pb2.FileDescriptorProto,
        descriptor_pb2.ServiceDescriptorProto,
        descriptor_pb2.MethodDescriptorProto,
    ]
]:
    for file in files.file:
        if file.package.startswith("candela.") and file.package.count(".") + 1 == _PACKAGE_PARTS:
            for service in file.service:
                for method in service.method:
                    yield file, service, method


class _OptionReader:
    """Reads method options with the descriptor set's own extensions, so that no generated code is needed."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._access = pool.FindExtensionByName(_ACCESS)
        self._http = pool.FindExtensionByName(_HTTP)
        self._options = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.protobuf.MethodOptions"))

    def method(
        self,
        pool: descriptor_pool.DescriptorPool,
        file: descriptor_pb2.FileDescriptorProto,
        service: descriptor_pb2.ServiceDescriptorProto,
        method: descriptor_pb2.MethodDescriptorProto,
    ) -> Method:
        options: Any = self._options.FromString(method.options.SerializeToString())
        unknown = descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN
        return Method(
            service=f"{file.package}.{service.name}",
            name=method.name,
            server=file.package.split(".")[1],
            access=Access(options.Extensions[self._access].level),
            rules=tuple(_rules(options.Extensions[self._http])),
            streams_in=method.client_streaming,
            streams_out=method.server_streaming,
            idempotent=method.options.idempotency_level != unknown,
            read_only=method.options.idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS,
            takes_files=_holds_bytes(pool.FindMessageTypeByName(method.input_type.lstrip(".")), set()),
        )


def _rules(rule: Any) -> Iterator[HttpRule]:
    """Yields a rule and its additional bindings."""
    for verb in _VERBS:
        if template := getattr(rule, verb):
            yield HttpRule(verb.upper(), template)
    for extra in rule.additional_bindings:
        yield from _rules(extra)


def _holds_bytes(message: Descriptor, seen: set[str]) -> bool:
    """Says whether a message or one inside it has a field of bytes."""
    if message.full_name == _HTTP_BODY:
        return True
    if message.full_name in seen:
        return False
    seen.add(message.full_name)
    return any(
        field.type == FieldDescriptor.TYPE_BYTES
        or (field.message_type is not None and _holds_bytes(field.message_type, seen))
        for field in message.fields
    )
