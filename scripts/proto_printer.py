"""Prints a compiled `.proto` file back as source.

Some packages ship only the compiled descriptor of a file that our contracts import. `print_file` turns such a
descriptor into source that compiles to the same descriptor again: declarations, defaults, reservations, extensions and
options, custom options included. Comments are not part of a descriptor and cannot come back.
"""

from collections.abc import Iterable, Iterator, Sequence

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message

_INDENT = "  "
_FIELD = descriptor_pb2.FieldDescriptorProto
_LABELS = {_FIELD.LABEL_OPTIONAL: "optional ", _FIELD.LABEL_REQUIRED: "required ", _FIELD.LABEL_REPEATED: "repeated "}
_MAX_FIELD_NUMBER = 536_870_911
_MAX_ENUM_NUMBER = 2_147_483_647


class _Printer:
    """Prints one file; holds the pool in which the custom options that the file itself declares are known."""

    def __init__(
        self, file: descriptor_pb2.FileDescriptorProto, imports: Sequence[descriptor_pb2.FileDescriptorProto]
    ) -> None:
        self._file = file
        self._pool = descriptor_pool.DescriptorPool()
        for imported in [*_descriptor_files(), *imports]:
            self._pool.Add(imported)
        self._pool.Add(file)

    def lines(self) -> Iterator[str]:
        file = self._file
        yield f'syntax = "{file.syntax or "proto2"}";'
        yield f"package {file.package};"
        yield from (f'import "{path}";' for path in file.dependency)
        yield from (f"option {text};" for text in self._options(file.options))
        yield from self._extensions(file.extension, 0)
        for enum in file.enum_type:
            yield from self._enum(enum, 0)
        for message in file.message_type:
            yield from self._message(message, 0)
        for service in file.service:
            yield f"service {service.name} {{"
            yield from (f"{_INDENT}{self._method(method)}" for method in service.method)
            yield "}"

    def _method(self, method: descriptor_pb2.MethodDescriptorProto) -> str:
        takes = ("stream " if method.client_streaming else "") + method.input_type
        gives = ("stream " if method.server_streaming else "") + method.output_type
        options = "".join(f" option {text};" for text in self._options(method.options))
        return f"rpc {method.name}({takes}) returns ({gives})" + (f" {{{options} }}" if options else ";")

    def _options(self, options: Message) -> list[str]:
        """Returns `name = value` for every option that is set, custom options by their full name."""
        known = self._pool.FindMessageTypeByName(options.DESCRIPTOR.full_name)
        resolved = message_factory.GetMessageClass(known)()
        resolved.ParseFromString(options.SerializeToString(deterministic=True))
        printed = []
        for field, value in resolved.ListFields():
            name = f"({field.full_name})" if field.is_extension else field.name
            if isinstance(value, Message):
                printed.append(f"{name} = {{ {text_format.MessageToString(value, as_one_line=True)} }}")
            elif field.enum_type is not None:
                printed.append(f"{name} = {field.enum_type.values_by_number[value].name}")
            else:
                printed.append(f"{name} = {_literal(value)}")
        return printed

    def _field(self, field: descriptor_pb2.FieldDescriptorProto, depth: int, *, in_oneof: bool = False) -> str:
        label = "" if in_oneof else _LABELS[field.label]
        if self._file.syntax == "proto3" and field.label == _FIELD.LABEL_OPTIONAL and not field.proto3_optional:
            label = ""
        options = self._options(field.options)
        if field.HasField("default_value"):
            options.insert(0, f"default = {_default(field)}")
        suffix = f" [{', '.join(options)}]" if options else ""
        return f"{_INDENT * depth}{label}{_type(field)} {field.name} = {field.number}{suffix};"

    def _fields(self, message: descriptor_pb2.DescriptorProto, depth: int) -> Iterator[str]:
        printed: set[int] = set()
        for field in message.field:
            if not field.HasField("oneof_index") or field.proto3_optional:
                yield self._map_field(message, field, depth) or self._field(field, depth)
            elif field.oneof_index not in printed:
                printed.add(field.oneof_index)
                yield f"{_INDENT * depth}oneof {message.oneof_decl[field.oneof_index].name} {{"
                members = (m for m in message.field if m.HasField("oneof_index") and m.oneof_index == field.oneof_index)
                yield from (self._field(member, depth + 1, in_oneof=True) for member in members)
                yield f"{_INDENT * depth}}}"

    def _map_field(
        self, message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto, depth: int
    ) -> str:
        for nested in message.nested_type:
            if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
                key, value = (_type(part) for part in nested.field)
                return f"{_INDENT * depth}map<{key}, {value}> {field.name} = {field.number};"
        return ""

    def _message(self, message: descriptor_pb2.DescriptorProto, depth: int) -> Iterator[str]:
        inner = depth + 1
        yield f"{_INDENT * depth}message {message.name} {{"
        yield from (f"{_INDENT * inner}option {text};" for text in self._options(message.options))
        for enum in message.enum_type:
            yield from self._enum(enum, inner)
        for nested in message.nested_type:
            if not nested.options.map_entry:
                yield from self._message(nested, inner)
        yield from self._fields(message, inner)
        for span in message.extension_range:
            end = "max" if span.end > _MAX_FIELD_NUMBER else span.end - 1
            yield f"{_INDENT * inner}extensions {span.start} to {end};"
        spans = ((span.start, span.end - 1) for span in message.reserved_range)
        yield from _reserved(spans, message.reserved_name, inner, _MAX_FIELD_NUMBER)
        yield from self._extensions(message.extension, inner)
        yield f"{_INDENT * depth}}}"

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto, depth: int) -> Iterator[str]:
        inner = _INDENT * (depth + 1)
        yield f"{_INDENT * depth}enum {enum.name} {{"
        yield from (f"{inner}option {text};" for text in self._options(enum.options))
        for value in enum.value:
            options = self._options(value.options)
            suffix = f" [{', '.join(options)}]" if options else ""
            yield f"{inner}{value.name} = {value.number}{suffix};"
        spans = ((span.start, span.end) for span in enum.reserved_range)
        yield from _reserved(spans, enum.reserved_name, depth + 1, _MAX_ENUM_NUMBER)
        yield f"{_INDENT * depth}}}"

    def _extensions(self, fields: Sequence[descriptor_pb2.FieldDescriptorProto], depth: int) -> Iterator[str]:
        extended: dict[str, list[descriptor_pb2.FieldDescriptorProto]] = {}
        for field in fields:
            extended.setdefault(field.extendee, []).append(field)
        for extendee, members in extended.items():
            yield f"{_INDENT * depth}extend {extendee} {{"
            yield from (self._field(member, depth + 1) for member in members)
            yield f"{_INDENT * depth}}}"


def print_file(
    file: descriptor_pb2.FileDescriptorProto, imports: Sequence[descriptor_pb2.FileDescriptorProto] = ()
) -> str:
    """Returns source that compiles to `file`, which may import `google/protobuf/*` files and `imports`."""
    return "\n".join(_Printer(file, imports).lines()) + "\n"


def _descriptor_files() -> list[descriptor_pb2.FileDescriptorProto]:
    default = descriptor_pool.Default()
    files = []
    for name in ("descriptor", "duration", "field_mask", "timestamp", "any", "struct", "empty", "wrappers"):
        file = descriptor_pb2.FileDescriptorProto()
        __import__(f"google.protobuf.{name}_pb2")
        default.FindFileByName(f"google/protobuf/{name}.proto").CopyToProto(file)
        files.append(file)
    return files


def _type(field: descriptor_pb2.FieldDescriptorProto) -> str:
    return field.type_name or _FIELD.Type.Name(field.type).removeprefix("TYPE_").lower()


def _default(field: descriptor_pb2.FieldDescriptorProto) -> str:
    return _literal(field.default_value) if field.type == _FIELD.TYPE_STRING else field.default_value


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return str(value)


def _reserved(spans: Iterable[tuple[int, int]], names: Iterable[str], depth: int, maximum: int) -> Iterator[str]:
    for start, end in spans:
        yield f"{_INDENT * depth}reserved {start} to {'max' if end >= maximum else end};"
    for name in names:
        yield f'{_INDENT * depth}reserved "{name}";'
