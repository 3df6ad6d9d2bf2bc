"""What the client knows about one RPC. All of it is read from the contract, nothing is repeated by hand."""

import uuid
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor
from google.protobuf.message import Message

from candela.auth.v1 import access_pb2

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

DEFAULT_TIMEOUT: Final = 30.0
_REQUEST_ID: Final = "request_id"
_OPTIONS = descriptor_pb2.MethodOptions
_REPEATABLE = (_OPTIONS.NO_SIDE_EFFECTS, _OPTIONS.IDEMPOTENT)


@dataclass(frozen=True, slots=True)
class Method(Generic[Req, Res]):
    """One RPC: where it is, what it takes and returns, and how it may be called.

    `authenticated` says that it needs a token, `repeatable` that sending it twice does no more than sending it once,
    `streams` that the server answers with a stream, `client_streams` that it takes one. `timeout` is in seconds and
    bounds all attempts together; None for no bound.
    """

    path: str
    request: type[Req]
    response: type[Res]
    authenticated: bool
    repeatable: bool
    streams: bool
    timeout: float | None
    client_streams: bool = False

    @classmethod
    def of(
        cls,
        file: FileDescriptor,
        name: str,
        request: type[Req],
        response: type[Res],
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        repeatable: bool | None = None,
    ) -> "Method[Req, Res]":
        """Reads the method `Service.Method` from a generated file's DESCRIPTOR.

        `repeatable` overrides what the contract's idempotency_level says; what takes a stream of requests never is,
        because a part of them may be gone. Raises TypeError when the types are not the method's own.
        """
        service, _, method_name = name.partition(".")
        method = file.services_by_name[service].methods_by_name[method_name]
        if (method.input_type, method.output_type) != (request.DESCRIPTOR, response.DESCRIPTOR):
            raise TypeError(f"{name} takes {method.input_type.full_name} and returns {method.output_type.full_name}")
        options: descriptor_pb2.MethodOptions = method.GetOptions()
        if repeatable is None:
            repeatable = options.idempotency_level in _REPEATABLE
        return cls(
            path=f"/{method.containing_service.full_name}/{method.name}",
            request=request,
            response=response,
            authenticated=options.Extensions[access_pb2.access].level != access_pb2.Access.LEVEL_PUBLIC,
            repeatable=repeatable and not method.client_streaming,
            streams=method.server_streaming,
            timeout=timeout,
            client_streams=method.client_streaming,
        )

    def prepared(self, request: Req) -> tuple[Req, str]:
        """Returns the request as it is sent in every attempt, with an idempotency key where it takes one, and the key.

        The caller's message is not changed; a key that the caller has set stays.
        """
        field = request.DESCRIPTOR.fields_by_name.get(_REQUEST_ID)
        if field is None or field.type != FieldDescriptor.TYPE_STRING:
            return request, ""
        given: str = getattr(request, _REQUEST_ID)
        if given:
            return request, given
        copy = type(request)()
        copy.CopyFrom(request)
        setattr(copy, _REQUEST_ID, str(uuid.uuid4()))
        return copy, getattr(copy, _REQUEST_ID)
