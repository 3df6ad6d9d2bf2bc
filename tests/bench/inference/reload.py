"""A model is loaded again and the server is told to stop while 64 requests are in flight: no accepted request fails.

The model is that of workload A, over Exchange. `RepositoryModelLoad` of the Open Inference Protocol replaces it twice a
second; then SIGTERM comes while requests go on. After SIGTERM a request that the server never took is refused with
UNAVAILABLE and is not counted: it was not accepted. What the model executed and the caller got must be equal.
"""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc

from kserve import grpc_service_pb2
from tests.bench.figures import Figure, Outcome
from tests.bench.inference.environments import REPOSITORY
from tests.bench.inference.generator import Answer, Order
from tests.bench.inference.ours import Ours, token
from tests.bench.inference.pace import Pace
from tests.bench.inference.servers import Server, serving
from tests.bench.inference.works import WORKLOADS

_LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
_IN_FLIGHT = 64
_PAUSE_SECONDS = 0.5
_WAIT_SECONDS = 60.0


def bench() -> Outcome:
    """Reload under load, then stop under load."""
    pace = Pace.chosen()
    ours = Ours("candela", [WORKLOADS["sleep5"]])
    failed, reloads, answered, lost = [], 0, 0, []
    for _ in range(pace.rounds):
        with serving(ours.recipe()) as server:
            count, answer = _reloading(server, ours, pace.seconds)
            reloads += count
            answered += len(answer.flows[0])
            failed.append(float(sum(1 for fate in answer.flows[0] if fate.outcome != "ok")))
        with serving(ours.recipe()) as server:
            lost.append(float(_stopping(server, ours, pace.seconds)))
    figures = (
        Figure("reload under load: failed requests", "", tuple(failed), at_most=0.0, judged="worst", digits=0),
        Figure("SIGTERM under load: executed and not answered", "", tuple(lost), at_most=0.0, judged="worst", digits=0),
    )
    return Outcome(figures, (f"{reloads} loads under way of {answered} requests",))


def _reloading(server: Server, ours: Ours, seconds: float) -> tuple[int, Answer]:
    with (
        tempfile.TemporaryDirectory(prefix="candela-load-") as folder,
        grpc.insecure_channel(server.address) as channel,
    ):
        process, written = _generator(server, ours, seconds, Path(folder))
        load = channel.unary_unary(
            _LOAD,
            request_serializer=grpc_service_pb2.RepositoryModelLoadRequest.SerializeToString,
            response_deserializer=grpc_service_pb2.RepositoryModelLoadResponse.FromString,
        )
        request = grpc_service_pb2.RepositoryModelLoadRequest(model_name=ours.workloads[0].name)
        count = 0
        while process.poll() is None:
            load(request, timeout=_WAIT_SECONDS, metadata=tuple(token(server).items()))
            count += 1
            time.sleep(_PAUSE_SECONDS)
        if process.returncode:
            raise RuntimeError("the load generator failed")
        return count, Answer.from_json(written.read_text(encoding="utf-8"))


def _stopping(server: Server, ours: Ours, seconds: float) -> int:
    """Return how many items were executed whose callers got no answer."""
    with tempfile.TemporaryDirectory(prefix="candela-load-") as folder:
        process, written = _generator(server, ours, seconds, Path(folder))
        before = server.executed()
        while server.executed() < before + 10 * _IN_FLIGHT and process.poll() is None:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(_WAIT_SECONDS)
        process.wait(_WAIT_SECONDS)
        answer = Answer.from_json(written.read_text(encoding="utf-8"))
        return server.executed() - before - sum(answer.answered)


def _generator(server: Server, ours: Ours, seconds: float, folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    order = Order(
        "exchange",
        server.address,
        [ours.flow(_IN_FLIGHT)],
        keys=str(server.folder / "keys"),
        deadline=10.0,
        seconds=seconds,
    )
    given, written = folder / "order.json", folder / "answer.json"
    given.write_text(order.to_json(), encoding="utf-8")
    command = [sys.executable, "-m", "tests.bench.inference.generator", str(given), str(written)]
    return subprocess.Popen(command, cwd=REPOSITORY), written
