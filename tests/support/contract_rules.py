"""What every contract of ours keeps, as rules over a compiled descriptor set.

`findings` returns what is broken. A rule knows exceptions only by full name and with a reason, and an exception that is
no longer needed is itself a finding, so that the lists stay short. tests/contract shows for each rule that it can fail.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import combinations

from google.protobuf import descriptor_pb2

from candela.auth.v1 import access_pb2
from tests.support.contract_model import Contract, Method
from tests.support.http_paths import HTTP, bindings, parse

_FIELD = descriptor_pb2.FieldDescriptorProto
_OPTIONS = descriptor_pb2.MethodOptions
_STATUS = ".google.rpc.Status"
_HTTP_BODY = ".google.api.HttpBody"
_UNTYPED = {f".google.protobuf.{name}" for name in ("Any", "Struct", "Value", "ListValue", "BytesValue")}

Reasons = Mapping[str, str]


@dataclass(frozen=True)
class Finding:
    """A rule that something breaks."""

    rule: str
    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class Exceptions:
    """Full names that a rule does not bind, each with the reason."""

    without_request_id: Reasons = field(default_factory=dict)
    without_terminal_event: Reasons = field(default_factory=dict)
    opaque: Reasons = field(default_factory=dict)


def findings(contract: Contract, exceptions: Exceptions) -> list[Finding]:
    """Returns everything in the contract that breaks a rule."""
    walk = _Walk(contract, exceptions)
    return [finding for rule in _RULES for finding in rule(walk)]


class _Walk:
    """A contract being checked; remembers which exceptions were needed."""

    def __init__(self, contract: Contract, exceptions: Exceptions) -> None:
        self.contract = contract
        self.exceptions = exceptions
        self._used: set[tuple[str, str]] = set()

    def excepted(self, rule: str, name: str) -> bool:
        if name in getattr(self.exceptions, rule):
            self._used.add((rule, name))
            return True
        return False

    def unused_exceptions(self) -> Iterator[tuple[str, str]]:
        for rule in fields(self.exceptions):
            names = getattr(self.exceptions, rule.name)
            yield from ((rule.name, name) for name in names if (rule.name, name) not in self._used)

    def message(self, type_name: str) -> descriptor_pb2.DescriptorProto:
        return self.contract.messages[type_name]


def _access(walk: _Walk) -> Iterator[Finding]:
    for method in walk.contract.methods:
        options = method.descriptor.options
        access = options.Extensions[access_pb2.access]
        if not options.HasExtension(access_pb2.access) or not access.level:
            yield Finding("access", method.name, "has no (candela.auth.v1.access) level")
        elif (access.level == access_pb2.Access.LEVEL_PERMISSION) != bool(access.permission):
            yield Finding("access", method.name, "names a permission exactly when its level is LEVEL_PERMISSION")


def _idempotency(walk: _Walk) -> Iterator[Finding]:
    for method in walk.contract.methods:
        if not method.descriptor.options.HasField("idempotency_level"):
            yield Finding("idempotency", method.name, "has no idempotency_level")


def _request_id(walk: _Walk) -> Iterator[Finding]:
    for method in walk.contract.methods:
        options = method.descriptor.options
        if options.HasField("idempotency_level") and options.idempotency_level == _OPTIONS.NO_SIDE_EFFECTS:
            continue
        if not _carries_request_id(walk, method) and not walk.excepted("without_request_id", method.name):
            yield Finding("request id", method.name, "changes something, but its request has no string request_id")


def _carries_request_id(walk: _Walk, method: Method) -> bool:
    """Looks at the request and, where the client streams, at the `config` that such a stream starts with."""
    request = walk.message(method.descriptor.input_type)
    candidates = [request]
    if method.descriptor.client_streaming:
        candidates += [walk.message(one.type_name) for one in request.field if one.name == "config" and one.type_name]
    return any(_has(message, "request_id", _FIELD.TYPE_STRING) for message in candidates)


def _paging(walk: _Walk) -> Iterator[Finding]:
    for method in walk.contract.methods:
        if not method.descriptor.name.startswith("List"):
            continue
        request = walk.message(method.descriptor.input_type)
        response = walk.message(method.descriptor.output_type)
        if not _has(request, "page_size", _FIELD.TYPE_INT32):
            yield Finding("paging", method.name, "lists, but its request has no int32 page_size")
        if not _has(request, "page_token", _FIELD.TYPE_STRING):
            yield Finding("paging", method.name, "lists, but its request has no string page_token")
        if not _has(response, "next_page_token", _FIELD.TYPE_STRING):
            yield Finding("paging", method.name, "lists, but its response has no string next_page_token")


def _terminal_event(walk: _Walk) -> Iterator[Finding]:
    for method in walk.contract.methods:
        if not method.descriptor.server_streaming or _ends_in_band(walk.message(method.descriptor.output_type)):
            continue
        if not walk.excepted("without_terminal_event", method.name):
            message = "streams without a oneof of `completed` and `error` (google.rpc.Status)"
            yield Finding("terminal event", method.name, message)


def _ends_in_band(event: descriptor_pb2.DescriptorProto) -> bool:
    completed = {one.oneof_index for one in event.field if one.name == "completed" and one.HasField("oneof_index")}
    failed = {
        one.oneof_index
        for one in event.field
        if one.name == "error" and one.type_name == _STATUS and one.HasField("oneof_index")
    }
    return bool(completed & failed)


def _comments(walk: _Walk) -> Iterator[Finding]:
    for declaration in walk.contract.declarations():
        if not declaration.comment:
            yield Finding("comment", declaration.name, f"is a {declaration.kind} without a comment")


def _http_paths(walk: _Walk) -> Iterator[Finding]:
    bound: list[tuple[str, str, str]] = []
    for method in walk.contract.methods:
        options = method.descriptor.options
        if options.HasExtension(HTTP):
            if method.internal:
                yield Finding("internal", method.name, "is internal, but has an HTTP rule")
            bound += [(method.name, verb, path) for verb, path in bindings(options.Extensions[HTTP])]
    for (one, verb, path), (other, other_verb, other_path) in combinations(bound, 2):
        if verb == other_verb and parse(path).overlaps(parse(other_path)):
            yield Finding("http path", other, f"{verb} {other_path} collides with {path} of {one}")


def _opaque(walk: _Walk) -> Iterator[Finding]:
    for one in walk.contract.fields:
        is_bytes = one.descriptor.type == _FIELD.TYPE_BYTES
        if (is_bytes or one.descriptor.type_name in _UNTYPED) and not walk.excepted("opaque", one.name):
            kind = "bytes" if is_bytes else one.descriptor.type_name.removeprefix(".")
            yield Finding("opaque", one.name, f"is {kind}, which says nothing about what it holds")
    for method in walk.contract.methods:
        untyped = {method.descriptor.input_type, method.descriptor.output_type} & {_HTTP_BODY, *_UNTYPED}
        if untyped and not walk.excepted("opaque", method.name):
            yield Finding("opaque", method.name, f"takes or returns {sorted(untyped)[0].removeprefix('.')}")


def _stale_exceptions(walk: _Walk) -> Iterator[Finding]:
    for rule, name in walk.unused_exceptions():
        yield Finding("exception", name, f"is excepted in `{rule}`, but needs no exception")


def _has(message: descriptor_pb2.DescriptorProto, name: str, kind: "_FIELD.Type.ValueType") -> bool:
    single = (one for one in message.field if one.label != _FIELD.LABEL_REPEATED)
    return any(one.name == name and one.type == kind for one in single)


# Stale exceptions last: the rules before it say which ones they needed.
_RULES: tuple[Callable[[_Walk], Iterator[Finding]], ...] = (
    _access,
    _idempotency,
    _request_id,
    _paging,
    _terminal_event,
    _comments,
    _http_paths,
    _opaque,
    _stale_exceptions,
)
