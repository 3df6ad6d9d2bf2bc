"""The OTLP/gRPC receiver: `opentelemetry.proto.collector.trace.v1.TraceService/Export` on loopback."""

import grpc
import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from supervisor.traces.ingest import MalformedRequestError, TraceIngest

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
_MAX_REQUEST_BYTES = 4 * 1024 * 1024
_MAX_CONCURRENT = 16
_STOP_GRACE_SECONDS = 0.5


class TraceReceiver:
    """Serves the exporters of all processes of the mesh."""

    def __init__(self, ingest: TraceIngest, port: int) -> None:
        self._ingest = ingest
        self._port = port
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Listen and return the port; port 0 takes any that is free. Raises OSError when the port is taken."""
        server = grpc.aio.server(
            maximum_concurrent_rpcs=_MAX_CONCURRENT,
            options=(
                ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
                ("grpc.max_metadata_size", 16 * 1024),
                # Without this two supervisors could listen on the same port and share the spans at random.
                ("grpc.so_reuseport", 0),
            ),
        )
        # The request stays bytes: what cannot be parsed must be answered, not end in gRPC's own traceback.
        export: grpc.RpcMethodHandler[bytes, ExportTraceServiceResponse] = grpc.unary_unary_rpc_method_handler(
            self._export, response_serializer=ExportTraceServiceResponse.SerializeToString
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Export": export}),))
        try:
            port = server.add_insecure_port(f"127.0.0.1:{self._port}")
        except RuntimeError as error:
            raise OSError(f"the trace receiver cannot listen on port {self._port}") from error
        await server.start()
        self._server = server
        return port

    async def stop(self) -> None:
        """Finish what is being received and close."""
        if self._server is not None:
            await self._server.stop(_STOP_GRACE_SECONDS)

    async def _export(
        self, raw: bytes, context: grpc.aio.ServicerContext[bytes, ExportTraceServiceResponse]
    ) -> ExportTraceServiceResponse:
        try:
            refused = self._ingest.take(raw)
        except MalformedRequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if not refused:
            return ExportTraceServiceResponse()
        message = "spans without valid ids, above 64 KiB, or beyond 512 of one trace are not kept"
        return ExportTraceServiceResponse(
            partial_success=ExportTracePartialSuccess(rejected_spans=refused, error_message=message)
        )
