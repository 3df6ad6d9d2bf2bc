"""What the kit's pipeline adds to a call: `PYTHONPATH=.:clients/python/src python -m tests.bench.pipeline_cost`.

Two servers in one process answer the same unary call from the same loop, one bare and one behind the whole pipeline
with a signed-in caller; calls take turns, so that both see the same machine. Prints the median time of a call and the
difference, in microseconds. Telemetry is as in production: one recorded span a call into a batch processor (whose
exporter drops it), two metrics, one JSON log line (to /dev/null).
"""

import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import uvloop
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from candela.user.v1 import user_pb2, user_service_pb2, user_service_pb2_grpc
from observability.logs import start_logging
from observability.telemetry import start_telemetry
from services.kit.pipeline.authentication import Authenticator
from services.kit.pipeline.core import Pipeline
from services.kit.pipeline.interceptor import PipelineInterceptor
from tests.support.grpc_server import MeshKeys

_WARM_UP = 200
_CALLS = 3000


class _Dropping(InMemorySpanExporter):
    def export(self, spans: Any) -> Any:
        self.clear()
        return super().export(())


class _Api:
    async def GetUser(self, request: Any, _context: Any) -> user_pb2.User:
        return user_pb2.User(name=request.name)


async def _serve(interceptors: list[grpc.aio.ServerInterceptor]) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server(interceptors=interceptors)
    get_user = grpc.unary_unary_rpc_method_handler(
        _Api().GetUser, user_service_pb2.GetUserRequest.FromString, user_pb2.User.SerializeToString
    )
    handlers = grpc.method_handlers_generic_handler("candela.user.v1.UserService", {"GetUser": get_user})
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def _alternate(stubs: list[Any], metadata: Any) -> tuple[float, ...]:
    """Return each stub's median microseconds; calls take turns, so that the machine's other work hits all alike."""
    request = user_service_pb2.GetUserRequest(name="users/me")
    taken: list[list[float]] = [[] for _ in stubs]
    for _ in range(_WARM_UP + _CALLS):
        for stub, times in zip(stubs, taken, strict=True):
            begun = time.perf_counter()
            await stub.GetUser(request, metadata=metadata, timeout=10)
            times.append(time.perf_counter() - begun)
    return tuple(statistics.median(times[_WARM_UP:]) * 1e6 for times in taken)


async def measure(ratio: float) -> tuple[float, float]:
    """Return the median microseconds of a bare call and of one behind the pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        keys = MeshKeys(Path(folder))
        telemetry = start_telemetry("user", ratio=ratio, processors=[BatchSpanProcessor(_Dropping())])
        pipeline = Pipeline(tracer=telemetry.tracer, authenticator=Authenticator(keys.verifier("user")))
        servers = [await _serve([]), await _serve([PipelineInterceptor(pipeline)])]
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}") for _, port in servers]
        stubs = [user_service_pb2_grpc.UserServiceStub(channel) for channel in channels]
        bare, piped = await _alternate(stubs, keys.as_user())
        for channel, (server, _) in zip(channels, servers, strict=True):
            await channel.close()
            await server.stop(None)
        telemetry.close()
    return bare, piped


def main() -> None:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        start_logging("INFO", stream=nowhere)
        for ratio in (1.0, 0.0):
            for log in (True, False):
                logging.getLogger("candela.access").setLevel(logging.INFO if log else logging.ERROR)
                bare, piped = uvloop.run(measure(ratio))
                sys.stdout.write(
                    f"span {'recorded' if ratio else 'not sampled':<11} log line {'yes' if log else 'no ':<3} "
                    f"bare {bare:6.0f} µs   pipeline {piped:6.0f} µs   difference {piped - bare:5.0f} µs\n"
                )


if __name__ == "__main__":
    main()
