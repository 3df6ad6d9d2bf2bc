"""A proxy between Envoy and a service that spoils replies: it drops a field, or sends it under another number."""

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from tests.conformance.contract import Method

_THREADS: Final = 8
_FURTHER: Final = 1000
_HOP: Final = ("content-type", "user-agent", "te", "grpc-accept-encoding", "grpc-encoding", "grpc-status-details-bin")
# What a message of a reply becomes on its way.
Spoil = Callable[[Message], bytes]


@dataclass
class Spoiler:
    """Forwards every call to `target`; replies of `method` go through `spoil` while it is set."""

    target: Callable[[], str]
    method: Method | None = None
    spoil: Spoil | None = None
    _channels: dict[str, grpc.Channel] = field(default_factory=dict)

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Serve inside the block; gives the port."""
        server = grpc.server(futures.ThreadPoolExecutor(_THREADS), options=[("grpc.max_receive_message_length", -1)])
        server.add_generic_rpc_handlers([_Everything(self)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(0).wait()
            for channel in self._channels.values():
                channel.close()

    @contextmanager
    def spoiling(self, method: Method, spoil: Spoil) -> Iterator[None]:
        """Spoil the replies of a method inside the block."""
        self.method, self.spoil = method, spoil
        try:
            yield
        finally:
            self.method, self.spoil = None, None

    def forward(self, path: str, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Make the same call to the service; its replies, or its error."""
        target = self.target()
        channel = self._channels.setdefault(target, grpc.insecure_channel(target))
        stub: Any = channel.unary_stream(path)
        metadata = [one for one in context.invocation_metadata() if one[0] not in _HOP and not one[0].startswith(":")]
        try:
            for reply in stub(request, metadata=metadata, timeout=context.time_remaining()):
                yield self._passed(path, reply)
        except grpc.RpcError as error:
            told: Any = error
            context.set_trailing_metadata(told.trailing_metadata() or ())
            context.abort(told.code(), told.details())

    def _passed(self, path: str, reply: bytes) -> bytes:
        method, spoil = self.method, self.spoil
        if method is None or spoil is None or path != f"/{method.name}":
            return reply
        return spoil(method.response.FromString(reply))


class _Everything(grpc.GenericRpcHandler):
    """Takes every method. A unary reply looks like a stream of one message on the wire."""

    def __init__(self, spoiler: Spoiler) -> None:
        self._spoiler = spoiler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = str(handler_call_details.method)
        return grpc.unary_stream_rpc_method_handler(
            lambda request, context: self._spoiler.forward(path, request, context)
        )


def dropped(name: str) -> Spoil:
    """Return what takes a field out of a reply."""

    def spoil(message: Message) -> bytes:
        message.ClearField(name)
        return message.SerializeToString()

    return spoil


def renamed(name: str) -> Spoil:
    """Return what sends a field under a number that the contract does not have."""

    def spoil(message: Message) -> bytes:
        alone = type(message)()
        alone.CopyFrom(message)
        for descriptor, _ in message.ListFields():
            if descriptor.name != name:
                alone.ClearField(descriptor.name)
        message.ClearField(name)
        return message.SerializeToString() + _under_another_number(alone.SerializeToString())

    return spoil


def _under_another_number(encoded: bytes) -> bytes:
    """Return one encoded field, or the elements of one repeated field, with other tags."""
    moved = b""
    while encoded:
        tag, body = _varint(encoded)
        length, rest = _varint(body)
        assert tag & 7 == 2, "texts and messages only"
        size = len(body) - len(rest) + length
        moved += _encoded(tag + (_FURTHER << 3)) + body[:size]
        encoded = body[size:]
    return moved


def _varint(encoded: bytes) -> tuple[int, bytes]:
    value = shift = 0
    for count, byte in enumerate(encoded, 1):
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, encoded[count:]
        shift += 7
    raise ValueError("a varint without an end")


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
