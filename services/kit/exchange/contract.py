"""What a service's Exchange is made of: its frames, and which unary method each member of a call stands for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, MethodDescriptor

from services.kit.access import Level
from services.kit.pipeline.methods import MethodInfo, Methods, access_of

WORDS = frozenset({"cancel", "credit", "heartbeat", "draining", "error"})
MAX_CALLS = 4096  # in one frame, as the contract of every Exchange has it


@dataclass(frozen=True, slots=True)
class Contract:
    """One Exchange. `members` are the unary methods' paths by their member in the oneofs of Call and Reply."""

    path: str
    call_frame: Any
    reply_frame: Any
    members: Mapping[str, str]
    idempotent: frozenset[str] = frozenset()

    @classmethod
    def of(cls, path: str, members: Mapping[str, str], *, idempotent: Collection[str] = ()) -> "Contract":
        """Read the frames of the method `path` (`/package.Service/Exchange`) from its loaded descriptor.

        `idempotent` names members that may be sent twice although their method's contract, which is not ours, does not
        say so. Raises TypeError when a member does not carry exactly what its method takes and gives, or when the
        stream is open to others than services, because a caller speaks for users here; KeyError for unknown names.
        """
        method = _method(path)
        access = access_of(method)
        if access is None or access.level is not Level.SERVICE:
            raise TypeError(f"{path} must be open to services only")
        call, reply = element_of(method.input_type, "calls"), element_of(method.output_type, "replies")
        for member, unary_path in members.items():
            unary = _method(unary_path)
            if member in WORDS or _carried(call, member) != unary.input_type.full_name:
                raise TypeError(f"{member} of {call.full_name} does not carry what {unary_path} takes")
            if _carried(reply, member) != unary.output_type.full_name:
                raise TypeError(f"{member} of {reply.full_name} does not carry what {unary_path} gives")
        frames = _class_of(method.input_type), _class_of(method.output_type)
        return cls(path, frames[0], frames[1], dict(members), frozenset(idempotent))

    def infos(self, methods: Methods) -> dict[str, MethodInfo]:
        """Return what the contract says about each member's method."""
        infos = {member: methods.get(path) for member, path in self.members.items()}
        return {
            member: replace(info, read_only=True) if member in self.idempotent else info
            for member, info in infos.items()
        }


def _method(path: str) -> MethodDescriptor:
    service, _, name = path.lstrip("/").rpartition("/")
    return descriptor_pool.Default().FindMethodByName(f"{service}.{name}")


def element_of(frame: Descriptor, field: str) -> Descriptor:
    """Return the message type of a frame's repeated field; TypeError when it is none."""
    element = frame.fields_by_name[field].message_type
    if element is None:
        raise TypeError(f"{field} of {frame.full_name} are no messages")
    return element


def _carried(message: Descriptor, member: str) -> str:
    kind = message.fields_by_name[member].message_type
    return str(kind.full_name) if kind is not None else ""


def _class_of(message: Descriptor) -> Any:
    return getattr(message, "_concrete_class")  # noqa: B009 - known to protobuf's runtime and not to its stubs
