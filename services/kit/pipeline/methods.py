"""What the contract says about a method, read once from its descriptor."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.rpc import status_pb2

from candela.auth.v1 import access_pb2
from services.kit.access import Access, Level
from services.kit.scopes import scope_of

_READ_ONLY = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS

# gRPC's own services: open to whoever reaches the port, and not worth a span every time a probe looks.
INFRASTRUCTURE = ("/grpc.health.v1.", "/grpc.reflection.v1alpha.", "/grpc.reflection.v1.", "/grpc.channelz.v1.")


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where a stream's response says that it is over: the oneof with the members `completed` and `error`.

    `seq` is the name of the integer field that numbers the events, empty when they have none.
    """

    oneof: str
    seq: str = ""


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """A method's facts. `access` None means that nobody may call it, an empty `scope` that no API key may."""

    path: str
    access: Access | None
    request_streaming: bool = False
    response_streaming: bool = False
    read_only: bool = False
    has_request_id: bool = False
    response_type: Any = None
    terminal: Terminal | None = None
    service: str = ""
    method: str = ""
    scope: str = ""
    logged: bool = True  # whether calls that succeed quickly have a line in the access log

    @property
    def name(self) -> str:
        """`package.Service/Method`, the span's name."""
        return self.path[1:]


# Stands for every method that does not exist: callers choose those names, so they never become a label or a key.
UNKNOWN_METHOD = MethodInfo("/_OTHER", None, service="_OTHER", method="_OTHER")


class Methods:
    """Looks methods up by their path `/package.Service/Method` and remembers them."""

    def __init__(self, foreign: Mapping[str, Access] | None = None, unlogged: Collection[str] = ()) -> None:
        """Use `foreign` as the rule for every method of the services it names (contracts without our option).

        Calls of the services in `unlogged` have a line in the access log only when they fail or are slow.
        """
        self._foreign = dict(foreign or {})
        self._unlogged = frozenset(unlogged)
        self._known: dict[str, MethodInfo] = {}

    def get(self, path: str) -> MethodInfo:
        """Return a method's facts; one that no loaded contract has is open to nobody."""
        info = self._known.get(path)
        if info is None:
            info = self._known[path] = self._read(path)
        return info

    def _read(self, path: str) -> MethodInfo:
        service, _, method = path.lstrip("/").rpartition("/")
        foreign = self._foreign.get(service)
        base: dict[str, Any] = {"path": path, "service": service, "method": method}
        base["logged"] = service not in self._unlogged
        try:
            descriptor = descriptor_pool.Default().FindMethodByName(f"{service}.{method}")
        except KeyError:
            return MethodInfo(access=foreign, **base)
        shape = _shape(descriptor)
        scope = scope_of(service, method, read_only=shape["read_only"])
        return MethodInfo(access=foreign or access_of(descriptor), scope=scope, **base, **shape)


def _shape(descriptor: MethodDescriptor) -> dict[str, Any]:
    options = descriptor.GetOptions()
    request_id = descriptor.input_type.fields_by_name.get("request_id")
    return {
        "request_streaming": descriptor.client_streaming,
        "response_streaming": descriptor.server_streaming,
        "read_only": options.idempotency_level == _READ_ONLY,
        "has_request_id": request_id is not None and request_id.type == FieldDescriptor.TYPE_STRING,
        "response_type": getattr(descriptor.output_type, "_concrete_class", None),
        "terminal": _terminal(descriptor.output_type) if descriptor.server_streaming else None,
    }


def access_of(descriptor: MethodDescriptor) -> Access | None:
    """Return the rule in a method's options; None when it is missing or makes no sense."""
    options = descriptor.GetOptions()
    if not options.HasExtension(access_pb2.access):
        return None
    rule = options.Extensions[access_pb2.access]
    try:
        return Access(Level(rule.level), rule.permission)
    except ValueError:
        return None


def _terminal(response: Descriptor) -> Terminal | None:
    error, completed = (response.fields_by_name.get(name) for name in ("error", "completed"))
    if error is None or completed is None or error.containing_oneof is None:
        return None
    if error.containing_oneof is not completed.containing_oneof or error.message_type is None:
        return None
    if error.message_type.full_name != status_pb2.Status.DESCRIPTOR.full_name:
        return None
    seq = response.fields_by_name.get("seq")
    numbered = seq is not None and seq.cpp_type in (
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT64,
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_UINT32,
    )
    return Terminal(error.containing_oneof.name, "seq" if numbered else "")
