"""What the kit's pipeline adds to a call.

Two figures, in microseconds, for each mix of span and log line:
- of CPU: what the loop's thread spends on the pipeline, whose wrapped handler is called without gRPC;
- on the wire: the difference of the median time of a call between two servers in this process, one bare and one behind
  the pipeline with a signed-in caller. Calls take turns, so that both see the same machine; other work on it shows.
Telemetry is as in production: one recorded span a call into a batch processor (whose exporter drops it), two metrics,
one JSON log line (to /dev/null).
"""

import asyncio
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import uvloop
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from candela.user.v1 import user_pb2, user_service_pb2
from observability.logs import start_logging
from observability.telemetry import start_telemetry
from services.kit.pipeline.authentication import Authenticator
from services.kit.pipeline.core import Pipeline
from services.kit.pipeline.interceptor import PipelineInterceptor
from services.kit.pipeline.shapes import Shapes
from tests.bench.figures import Figure, Outcome
from tests.support.grpc_server import MeshKeys, Metadata

_PATH = "/candela.user.v1.UserService/GetUser"
_REQUEST = user_service_pb2.GetUserRequest(name="users/me")
_WARM_UP = 300
_CALLS = 1000
_RUNS = 5
_LIMIT_MICROSECONDS = 150.0


class _Dropping(InMemorySpanExporter):
    def export(self, spans: Any) -> Any:
        self.clear()
        return super().export(())


class _Context:
    """As much of a gRPC context as the pipeline asks."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = (("user-agent", "grpc-python-asyncio"), *metadata)

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def time_remaining(self) -> float:
        return 10.0

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def set_trailing_metadata(self, _trailers: Any) -> None:
        """Is told the trace id."""

    def code(self) -> int:
        return 0


async def _get_user(request: Any, _context: Any) -> user_pb2.User:
    return user_pb2.User(name=request.name)


async def _cpu(call: Any, context: Any) -> float:
    """Return the microseconds of CPU that this thread spends on a call; the loop turns as it does under load."""
    begun = 0.0
    for number in range(-_WARM_UP, _CALLS):
        if number == 0:
            begun = time.thread_time()
        await call(_REQUEST, context)
        if number % 8 == 0:
            await asyncio.sleep(0)
    return (time.thread_time() - begun) / _CALLS * 1e6


async def _serve(interceptors: list[grpc.aio.ServerInterceptor]) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server(interceptors=interceptors)
    get_user = grpc.unary_unary_rpc_method_handler(
        _get_user, user_service_pb2.GetUserRequest.FromString, user_pb2.User.SerializeToString
    )
    service, method = _PATH[1:].split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: get_user}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def _wire(pipeline: Pipeline, metadata: Metadata) -> tuple[float, float]:
    """Return the median microseconds of a call to a bare server, and to one behind the pipeline."""
    servers = [await _serve([]), await _serve([PipelineInterceptor(pipeline)])]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}") for _, port in servers]
    calls: list[Any] = [
        channel.unary_unary(
            _PATH,
            request_serializer=user_service_pb2.GetUserRequest.SerializeToString,
            response_deserializer=user_pb2.User.FromString,
        )
        for channel in channels
    ]
    taken: list[list[float]] = [[], []]
    for _ in range(_WARM_UP + _CALLS):
        for call, times in zip(calls, taken, strict=True):
            begun = time.perf_counter()
            await call(_REQUEST, metadata=metadata, timeout=10)
            times.append(time.perf_counter() - begun)
    for channel, (server, _) in zip(channels, servers, strict=True):
        await channel.close()
        await server.stop(None)
    bare, piped = (statistics.median(times[_WARM_UP:]) * 1e6 for times in taken)
    return bare, piped


async def _measure(ratio: float) -> tuple[float, float, float]:
    """Measure with that part of traces recorded.

    Return microseconds: the pipeline's CPU, what it adds on the wire, and a bare call on the wire.
    """
    with tempfile.TemporaryDirectory() as folder:
        keys = MeshKeys(Path(folder))
        telemetry = start_telemetry("user", ratio=ratio, processors=[BatchSpanProcessor(_Dropping())])
        pipeline = Pipeline(tracer=telemetry.tracer, authenticator=Authenticator(keys.verifier("user")))
        context = _Context(keys.as_user())
        piped_cpu = await _cpu(Shapes(pipeline, pipeline.methods.get(_PATH)).unary_unary(_get_user), context)
        cpu = piped_cpu - await _cpu(_get_user, context)
        bare, piped = await _wire(pipeline, keys.as_user())
        telemetry.close()
    return cpu, piped - bare, bare


def bench() -> Outcome:
    """Measure every mix five times, in turns."""
    mixes = [(ratio, log) for ratio in (1.0, 0.0) for log in (True, False)]
    runs: dict[tuple[float, bool], list[tuple[float, float, float]]] = {mix: [] for mix in mixes}
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        start_logging("INFO", stream=nowhere)
        for _ in range(_RUNS):
            for ratio, log in mixes:
                logging.getLogger("candela.access").setLevel(logging.INFO if log else logging.ERROR)
                runs[ratio, log].append(uvloop.run(_measure(ratio)))
    figures = []
    for (ratio, log), taken in runs.items():
        mix = f"{'with' if ratio else 'no'} span, {'with' if log else 'no'} log line"
        cpu, wire, _ = (tuple(one) for one in zip(*taken, strict=True))
        limit = _LIMIT_MICROSECONDS if ratio and log else None
        figures.append(Figure(f"{mix}: CPU", "µs", cpu, at_most=limit, digits=0))
        figures.append(Figure(f"{mix}: on the wire", "µs", wire, digits=0))
    bare = tuple(one[2] for taken in runs.values() for one in taken)
    return Outcome((*figures, Figure("a call without pipeline on the wire", "µs", bare, digits=0)))
