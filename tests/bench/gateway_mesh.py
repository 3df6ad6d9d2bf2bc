"""What the gateway adds to a call, on the running mesh: `GetUser` of oneself, the cheapest call that needs a token.

One client process, kept connections, one call at a time, blocks of calls taking turns: gRPC straight to the user
service; JSON through Envoy (token check, transcoding, response shaping, compression, span and access log as in every
run); gRPC through Envoy. The user service does the same work each time: it verifies the token and reads the database.
The clients' own work is included: the gRPC clients are grpcio's, the JSON client writes to a socket and parses the
answer with `json` (it is cheaper than grpcio; the line with httpx shows the same with a usual client). What is added is
the difference of the medians of the blocks of one round.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import grpc

from tests.bench.clients import GetUserClient, JsonClient
from tests.bench.figures import Figure, Outcome
from tests.bench.turns import added, alternate, percentiles
from tests.support.edge import Edge
from tests.support.mesh import Mesh

_LIMIT_MS = 0.6
_DIRECT, _JSON, _GRPC, _HTTPX = "gRPC direct", "JSON via Envoy", "gRPC via Envoy", "JSON via Envoy, httpx"
_ME = "/v1/users/me"


def bench() -> Outcome:
    """Measure 2,500 calls of each client."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="candela-bench-"))
        mesh = stack.enter_context(Mesh.started(Path(folder), {"CANDELA_INFERENCE_MODELS": ""}))
        edge = stack.enter_context(Edge(mesh.edge))
        edge.sign_up()
        direct = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{mesh.ports.service('user')}"))
        through = stack.enter_context(grpc.insecure_channel(mesh.target))
        times = alternate(
            {
                _DIRECT: GetUserClient(direct, edge.token),
                _JSON: stack.enter_context(JsonClient(mesh.ports.edge, _ME, edge.token)),
                _GRPC: GetUserClient(through, edge.token),
                _HTTPX: lambda: edge.call("GET", _ME).raise_for_status().json(),
            }
        )
    figures = (
        Figure("GetUser on the busy mesh: JSON adds", "ms", added(times, _JSON, _DIRECT), at_most=_LIMIT_MS, digits=3),
        Figure("gRPC through Envoy adds", "ms", added(times, _GRPC, _DIRECT), digits=3),
        Figure("JSON through Envoy with httpx adds", "ms", added(times, _HTTPX, _DIRECT), digits=3),
    )
    return Outcome(figures, tuple(percentiles(times)))
