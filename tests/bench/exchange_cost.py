"""What a call of 1 KB costs inside an Exchange, on the server and at its caller.

A server in a process of its own answers from a frame handler at once, behind the whole pipeline: authentication of the
stream; access, rules, deadline, user, metrics and traces at 1 % of each call. As many callers as named wait for one
answer each and ask again, so a frame holds about as many calls. Figures are microseconds of CPU a call: what the whole
process spent, gRPC's threads included. For comparison the unary method of the same meaning.
"""

import asyncio
import gc
import multiprocessing
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import uvloop
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from candela.inference.v1 import exchange_service_pb2_grpc
from kserve import grpc_service_pb2
from observability.telemetry import start_telemetry
from services.kit.access import Access, Level
from services.kit.call import Call, Principal, handling
from services.kit.channel import open_channel
from services.kit.exchange.addresses import Addresses
from services.kit.exchange.client import open_exchange
from services.kit.exchange.contract import Contract
from services.kit.exchange.door import Door, Frames
from services.kit.exchange.incoming import Incoming
from services.kit.pipeline.authentication import Authenticator
from services.kit.pipeline.core import Pipeline
from services.kit.pipeline.methods import Methods
from services.kit.server import Binding, serving
from services.kit.settings import ServerSettings
from tests.bench.figures import Figure, Outcome
from tests.support.grpc_server import MeshKeys

_SERVICE = "inference.GRPCInferenceService"
_PATH = f"/{_SERVICE}/ModelInfer"
_CONTRACT = Contract.of("/candela.inference.v1.ExchangeService/Exchange", {"infer": _PATH})
_TENSOR: dict[str, Any] = {"name": "x", "datatype": "UINT8", "shape": [1, 1024]}
_REQUEST = grpc_service_pb2.ModelInferRequest(
    model_name="m",
    inputs=[grpc_service_pb2.ModelInferRequest.InferInputTensor(**_TENSOR)],
    raw_input_contents=[bytes(1024)],
)
_RESPONSE = grpc_service_pb2.ModelInferResponse(
    model_name="m",
    outputs=[grpc_service_pb2.ModelInferResponse.InferOutputTensor(**_TENSOR)],
    raw_output_contents=[bytes(1024)],
)
_CALLERS = (1, 8, 32, 64)
_LIMITS = {32: (22.0, 30.0)}  # of the server and of the caller
_RUNS = 5
_WARM_UP_SECONDS = 0.2
_SECONDS = 0.6

Ask = Callable[[], Awaitable[Any]]


class _Dropping(InMemorySpanExporter):
    def export(self, spans: Any) -> Any:
        self.clear()
        return super().export(())


def _answer(items: Sequence[Incoming]) -> None:
    for incoming in items:
        incoming.reply(_RESPONSE)


async def _model_infer(_request: Any, _context: Any) -> Any:
    return _RESPONSE


def _add_unary(_: object, server: Any) -> None:
    handler = grpc.unary_unary_rpc_method_handler(
        _model_infer,
        grpc_service_pb2.ModelInferRequest.FromString,
        grpc_service_pb2.ModelInferResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"ModelInfer": handler}),))
    server.add_registered_method_handlers(_SERVICE, {"ModelInfer": handler})


async def _serve(folder: Path, orders: Connection) -> None:
    telemetry = start_telemetry("inference", processors=[BatchSpanProcessor(_Dropping())])
    pipeline = Pipeline(
        tracer=telemetry.tracer,
        authenticator=Authenticator(MeshKeys(folder).verifier("inference")),
        methods=Methods({_SERVICE: Access(Level.SERVICE)}),
    )
    door = Door(_CONTRACT, {"infer": Frames(_answer)})
    bindings = [
        Binding(exchange_service_pb2_grpc.add_ExchangeServiceServicer_to_server, door),
        Binding(_add_unary, object(), access=Access(Level.SERVICE)),
    ]
    settings = ServerSettings(listen="127.0.0.1:0", metrics_port=0, drain_seconds=1.0)
    stopped = asyncio.Event()
    async with serving(settings, bindings, pipeline, asyncio.Event()) as running:
        gc.freeze()
        asyncio.get_running_loop().add_reader(orders.fileno(), _obey, orders, stopped)
        orders.send(running.port)
        await stopped.wait()
    telemetry.close()


def _obey(orders: Connection, stopped: asyncio.Event) -> None:
    if orders.recv():
        orders.send(time.process_time())
    else:
        stopped.set()


def _server(folder: Path, orders: Connection) -> None:
    uvloop.run(_serve(folder, orders))


async def _load(ask: Ask, callers: int, orders: Connection) -> tuple[float, float, float]:
    """Return microseconds of CPU a call on the server and here, and calls a second."""
    count, until = 0, time.monotonic() + _WARM_UP_SECONDS

    async def caller() -> None:
        nonlocal count
        while time.monotonic() < until:
            await ask()
            count += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    count, until = 0, time.monotonic() + _SECONDS
    orders.send(True)
    server, here, begun = orders.recv(), time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    seconds, here = time.perf_counter() - begun, time.process_time() - here
    orders.send(True)
    server = orders.recv() - server
    return server / count * 1e6, here / count * 1e6, count / seconds


async def _measure(folder: Path, port: int, orders: Connection) -> dict[str, tuple[float, float, float]]:
    identity, telemetry = MeshKeys(folder).identity("recognition"), start_telemetry("recognition")
    user = Call("/x/Y", principal=Principal(tenant="default", user="u1"))
    address = f"127.0.0.1:{port}"
    taken = {}
    async with (
        open_exchange("inference", _CONTRACT, Addresses([address]), identity, telemetry.tracer) as exchange,
        open_channel("inference", [address], identity, telemetry.tracer) as channel,
    ):
        unary = channel.unary_unary(
            _PATH,
            request_serializer=grpc_service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=grpc_service_pb2.ModelInferResponse.FromString,
        )
        with handling(user):
            for callers in _CALLERS:
                taken[f"{callers} at once"] = await _load(
                    lambda: exchange.call("infer", _REQUEST, timeout=5.0), callers, orders
                )
            taken["unary, 32 at once"] = await _load(lambda: unary(_REQUEST, timeout=5.0), 32, orders)
    telemetry.close()
    return taken


def bench() -> Outcome:
    """Measure every number of callers five times, in turns."""
    runs: dict[str, list[tuple[float, float, float]]] = {}
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        MeshKeys(folder)
        orders, theirs = spawn.Pipe()
        server = spawn.Process(target=_server, args=(folder, theirs), daemon=True)
        server.start()
        port = orders.recv()
        for _ in range(_RUNS):
            for what, taken in uvloop.run(_measure(folder, port, orders)).items():
                runs.setdefault(what, []).append(taken)
        orders.send(False)
        server.join(10)
    figures = []
    for what, measured in runs.items():
        server_cpu, caller_cpu, rate = (tuple(one) for one in zip(*measured, strict=True))
        limits = next((limit for callers, limit in _LIMITS.items() if what == f"{callers} at once"), (None, None))
        figures.append(Figure(f"{what}: server", "µs", server_cpu, at_most=limits[0], digits=1))
        figures.append(Figure(f"{what}: caller", "µs", caller_cpu, at_most=limits[1], digits=1))
        figures.append(Figure(f"{what}: rate", "calls/s", rate, digits=0))
    return Outcome(tuple(figures))
