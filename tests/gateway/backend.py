"""Small real gRPC servers behind the gateway: they serve the contract, note what reaches them, and do as told."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_status import rpc_status

from gateway_envoy.config import Tls
from tests.gateway.contract import Messages

Behaviour = Callable[[Any, grpc.ServicerContext], Any]


@dataclass(frozen=True)
class Seen:
    """One call as a server saw it."""

    method: str
    metadata: dict[str, str]
    request: Any


@dataclass
class Backend:
    """One server for all services whose package is `candela.<name>.v1`. Unless told otherwise a method answers with
    an empty message of its type."""

    name: str
    messages: Messages
    port: int = 0
    tls: Tls | None = None
    """Certificate and key; callers must then show a certificate that this one signed: itself."""
    seen: list[Seen] = field(default_factory=list)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    released: threading.Event = field(default_factory=threading.Event)
    _server: grpc.Server | None = None

    def start(self) -> None:
        """Starts to serve, on the port it had before if there was one."""
        options = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 33 << 20))
        server = grpc.server(futures.ThreadPoolExecutor(16), options=options)
        server.add_generic_rpc_handlers(tuple(self._handlers()))
        health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
        address = f"127.0.0.1:{self.port}"
        if self.tls is None:
            self.port = server.add_insecure_port(address)
        else:
            certificate = self.tls.certificate.read_bytes()
            pair = (self.tls.key.read_bytes(), certificate)
            credentials = grpc.ssl_server_credentials([pair], certificate, require_client_auth=True)
            self.port = server.add_secure_port(address, credentials)
        assert self.port
        server.start()
        self._server = server

    def stop(self) -> None:
        """Ends at once, as a killed process would: connections are cut."""
        self.released.set()
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None
        self.released.clear()

    def on(self, method: str, behaviour: Behaviour) -> None:
        """Makes a method, by its short name, behave in a certain way."""
        self.behaviours[method] = behaviour

    def reset(self) -> None:
        """Forgets what was seen and told."""
        self.seen.clear()
        self.behaviours.clear()

    @property
    def last(self) -> Seen:
        """The last call."""
        return self.seen[-1]

    def _handlers(self) -> Iterator[grpc.GenericRpcHandler]:
        for name in self.messages.services:
            if name.startswith(f"candela.{self.name}.v1."):
                service = self.messages.pool.FindServiceByName(name)
                methods = {method.name: self._handler(method) for method in service.methods}
                yield grpc.method_handlers_generic_handler(name, methods)

    def _handler(self, method: MethodDescriptor) -> "grpc.RpcMethodHandler[Any, Any]":
        request = self.messages.type(method.input_type.full_name)
        reply = self.messages.type(method.output_type.full_name)

        def unary(message: Any, context: grpc.ServicerContext) -> Any:
            self._note(method, message, context)
            behaviour = self.behaviours.get(method.name)
            return behaviour(message, context) if behaviour else reply()

        def stream(message: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            self._note(method, message, context)
            if behaviour := self.behaviours.get(method.name):
                yield from behaviour(message, context)

        read, write = request.FromString, reply.SerializeToString
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, read, write)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, read, write)
        return grpc.unary_unary_rpc_method_handler(unary, read, write)

    def _note(self, method: MethodDescriptor, request: Any, context: grpc.ServicerContext) -> None:
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        self.seen.append(Seen(method.full_name, metadata, request))


def refuse(code: grpc.StatusCode, reason: str, message: str = "no", *details: Message, **metadata: str) -> Behaviour:
    """Returns a behaviour that answers with a rich error, as the kit's servers do."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain="candela.dev", metadata=metadata)
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in (info, *details):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)

    def behave(_: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("candela-trace-id", "of-the-service"),))
        context.abort_with_status(rpc_status.to_status(status))

    return behave
