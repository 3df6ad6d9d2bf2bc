"""Requests as keyword arguments: which there are, of which types, and what they mean."""

import re
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from scripts.client.contract import Contract, Rpc, message_of, python_module, qualified

_SCALARS: Final = {
    FieldDescriptor.CPPTYPE_STRING: ("str", '""'),
    FieldDescriptor.CPPTYPE_BOOL: ("bool", "False"),
    FieldDescriptor.CPPTYPE_FLOAT: ("float", "0.0"),
    FieldDescriptor.CPPTYPE_DOUBLE: ("float", "0.0"),
}
_WELL_KNOWN: Final = {
    "google.protobuf.Timestamp": "datetime | Timestamp",
    "google.protobuf.Duration": "timedelta | Duration",
}
_PAGE: Final = ("page_size", "page_token")
_OF_THE_RESOURCE: Final = ("name", "etag")
_ONESELF: Final = re.compile(r"\busers/me\b|own account|own password|whose profile")


@dataclass(frozen=True)
class Parameter:
    """One argument. `default` is Python, empty when it has to be given; `positional` when its name is not needed."""

    name: str
    annotation: str
    default: str
    comment: str
    positional: bool = False
    bytes: bool = False


@dataclass
class Parameters:
    """The arguments of a method, and the parts of an update: `changes` are fields of `resource`, guarded by `keys`."""

    fields: list[Parameter] = field(default_factory=list)
    resource: str = ""
    keys: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    def ordered(self) -> list[Parameter]:
        """Returns them in the order of the signature: those without a name needed first."""
        return sorted(self.fields, key=lambda one: (not one.positional, bool(one.default) and one.positional))


class Reader:
    """Turns requests into arguments and notes in `modules` which generated modules their types are in."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self.modules: set[tuple[str, str]] = set()

    def read(self, rpc: Rpc) -> Parameters:
        """Returns the arguments of one method."""
        found = Parameters()
        update = rpc.request.fields_by_name.get("update_mask")
        resource = next((one for one in rpc.request.fields if _is_resource(one)), None) if update else None
        for one in rpc.request.fields:
            if one is resource:
                self._update(rpc, one, found)
            elif one is not update:
                found.fields.append(self._parameter(rpc, one))
        names = [one.name for one in found.fields]
        if len(names) != len(set(names)):
            raise ValueError(f"{rpc.full_name} has two arguments of one name: {names}")
        return found

    def type_of(self, kind: Descriptor | EnumDescriptor) -> str:
        """Returns a message or enum as the generated module calls it."""
        folder, stem = python_module(kind.file)
        self.modules.add((folder, stem))
        return f"{alias(folder, stem)}.{qualified(kind)}"

    def _update(self, rpc: Rpc, resource: FieldDescriptor, found: Parameters) -> None:
        found.resource = resource.name
        kind = message_of(resource)
        members = kind.fields_by_name
        found.changes = self._changeable(rpc, kind)
        for name in _OF_THE_RESOURCE:
            if name in members:
                found.keys.append(name)
                found.fields.append(self._key(rpc, members[name]))
        for name in found.changes:
            one = members[name]
            comment = self._contract.comment(one.full_name)
            found.fields.append(Parameter(name, f"{self._annotation(one)} | None", "None", comment, bytes=_raw(one)))
        comment = "What to change when it is not what is given: a field that is named here and not given is cleared."
        found.fields.append(Parameter("update_mask", "Sequence[str] | None", "None", comment))

    def _key(self, rpc: Rpc, one: FieldDescriptor) -> Parameter:
        if one.name != "name":
            comment = "The `etag` of the version that is changed; a newer one fails with Aborted."
            return Parameter(one.name, "str", '""', comment)
        oneself = one.full_name == "candela.user.v1.User.name" and rpc.own
        comment = self._contract.comment(one.full_name)
        return Parameter(one.name, "str", '"users/me"' if oneself else "", comment, positional=not oneself)

    def _changeable(self, rpc: Rpc, resource: Descriptor) -> list[str]:
        """Returns what the contract lets be changed: the comment of `update_mask` says it."""
        comment = self._contract.comment(f"{rpc.request.full_name}.update_mask")
        named = re.findall(r"`(\w+)`", comment.partition("Required.")[0])
        oneofs = [one for name in named if (one := resource.oneofs_by_name.get(name)) is not None]
        if oneofs:
            return [member.name for one in oneofs for member in one.fields]
        if "all but" in comment or not named:
            left_out = {*named, *_OF_THE_RESOURCE}
            return [
                one.name
                for one in resource.fields
                if one.name not in left_out and "Output only" not in self._contract.comment(one.full_name)
            ]
        unknown = [name for name in named if name not in resource.fields_by_name]
        if unknown:
            raise ValueError(f"{rpc.full_name}: `update_mask` names {unknown}, which {resource.full_name} has not")
        return named

    def _parameter(self, rpc: Rpc, one: FieldDescriptor) -> Parameter:
        annotation, default = self._annotation(one), self._default(one)
        comment = self._contract.comment(one.full_name)
        if one.name == "name" and rpc.own and _ONESELF.search(comment):
            return Parameter(one.name, annotation, '"users/me"', comment, positional=rpc.name.startswith("Get"))
        first = one.containing_oneof is not None and _raw(one) and one.containing_oneof.fields[0] is one
        required = self._contract.required(one) and one.name not in _PAGE
        if required:
            default = ""
        elif default == "None":
            annotation = f"{annotation} | None"
        return Parameter(one.name, annotation, default, comment, positional=required or first, bytes=_raw(one))

    def _annotation(self, one: FieldDescriptor) -> str:
        if one.message_type is not None and one.message_type.GetOptions().map_entry:
            key, value = one.message_type.fields_by_name["key"], one.message_type.fields_by_name["value"]
            return f"Mapping[{self._annotation(key)}, {self._annotation(value)}]"
        kind = self._single(one)
        return f"Sequence[{kind}]" if one.is_repeated else kind

    def _single(self, one: FieldDescriptor) -> str:
        if one.message_type is not None:
            known = _WELL_KNOWN.get(one.message_type.full_name)
            return known or f"{self.type_of(one.message_type)} | Mapping[str, Any]"
        if one.enum_type is not None:
            return f"{self.type_of(one.enum_type)}.ValueType | str"
        if one.type == FieldDescriptor.TYPE_BYTES:
            return "Source"
        return _SCALARS.get(one.cpp_type, ("int", "0"))[0]

    def _default(self, one: FieldDescriptor) -> str:
        if one.is_repeated:
            return "None" if one.message_type is not None and one.message_type.GetOptions().map_entry else "()"
        if one.has_presence or one.enum_type is not None or one.type == FieldDescriptor.TYPE_BYTES:
            return "None"
        return _SCALARS.get(one.cpp_type, ("int", "0"))[1]


def alias(folder: str, stem: str) -> str:
    """Returns what a generated module is called where it is imported; modules of two packages may share a name."""
    package = folder.split(".")
    return f"{package[1]}_{stem}" if package[0] == "candela" and len(package) > 1 else stem


def _is_resource(one: FieldDescriptor) -> bool:
    return one.message_type is not None and one.name != "update_mask" and not one.is_repeated


def _raw(one: FieldDescriptor) -> bool:
    return one.type == FieldDescriptor.TYPE_BYTES and not one.is_repeated
