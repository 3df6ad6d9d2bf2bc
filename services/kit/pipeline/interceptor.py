"""The pipeline as one gRPC interceptor: every method is wrapped once, in its own shape, and remembered."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from services.kit.pipeline.core import Pipeline
from services.kit.pipeline.methods import INFRASTRUCTURE
from services.kit.pipeline.shapes import Shapes, refuse_unknown

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
else:  # at run time it is not generic
    Handler = grpc.RpcMethodHandler


class PipelineInterceptor(grpc.aio.ServerInterceptor):
    """Leads every call of a server through its pipeline; gRPC's own services (health, …) pass untouched."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._wrapped: dict[str, Handler] = {}
        self._unknown: Handler = grpc.stream_stream_rpc_method_handler(refuse_unknown(pipeline))

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's handler with the pipeline around it."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return self._unknown
            wrapped = self._wrapped[path] = self.wrap(path, handler)
        return wrapped

    def wrap(self, path: str, handler: Handler) -> Handler:
        """Return `handler` with every stage around it; TypeError when it is not asynchronous."""
        if path.startswith(INFRASTRUCTURE):
            return handler
        shapes = Shapes(self._pipeline, self._pipeline.methods.get(path))
        make: Callable[..., Handler]
        if handler.request_streaming and handler.response_streaming:
            make, behaviour = grpc.stream_stream_rpc_method_handler, shapes.stream_stream(handler.stream_stream)
        elif handler.request_streaming:
            make, behaviour = grpc.stream_unary_rpc_method_handler, shapes.stream_unary(handler.stream_unary)
        elif handler.response_streaming:
            make, behaviour = grpc.unary_stream_rpc_method_handler, shapes.unary_stream(handler.unary_stream)
        else:
            make, behaviour = grpc.unary_unary_rpc_method_handler, shapes.unary_unary(handler.unary_unary)
        return make(behaviour, handler.request_deserializer, handler.response_serializer)
