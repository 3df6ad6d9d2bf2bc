"""The stock Triton client, in an environment of its own, against real server processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from scripts.tritonclient import InstallError, prepare
from services.kit.keys import ensure_keys
from tests.support.binaries import NOT_RUN
from tests.support.child_process import start, stop
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh

_REPOSITORY = Path(__file__).parents[2]
_OWN_MODELS = [
    *("server_and_model_metadata", "inference", "every_datatype", "classification", "errors", "identity"),
    *("concurrency", "asynchronous", "streaming", "cancelled_stream", "cancellation", "timeouts", "statistics"),
    *("repository", "settings", "shared_memory"),
]

_PYTHONPATH = f"{_REPOSITORY}:{_REPOSITORY / 'clients/python/src'}"
_QUIET = ("CANDELA_METRICS_PORT=0", "CANDELA_OTLP_ENDPOINT=off")


class Driver:
    """The process with the stock client."""

    def __init__(self, python: Path) -> None:
        self.python = python
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-m", "tests.support.tritonclient_driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_REPOSITORY,
            env={"PATH": os.environ["PATH"]},
            text=True,
        )

    def run(self, scenario: str, address: str, token: str) -> None:
        """Run one scenario; fails the test with the client's own traceback."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"scenario": scenario, "address": address, "headers": {"authorization": f"Bearer {token}"}}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the client's process ended"
        failure = json.loads(answer)
        assert failure is None, failure

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def client() -> Iterator[Driver]:
    try:
        python = prepare()
    except InstallError as error:
        pytest.skip(f"{NOT_RUN}{error}")
    driver = Driver(python)
    yield driver
    driver.close()


@dataclass(frozen=True)
class Server:
    """A running inference server: where it is, and where its keys are."""

    address: str
    data: Path

    def token(self) -> str:
        """Print a token as an operator does."""
        return service_token(self.data)


def service_token(data: Path) -> str:
    command = [sys.executable, "-m", "supervisor", "token", "--to", "inference"]
    environment = {**os.environ, "PYTHONPATH": _PYTHONPATH, "CANDELA_DATA_DIR": str(data)}
    done = subprocess.run(command, cwd=_REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the inference server over the small models of tests/support/tensor_models.py."""
    folder = tmp_path_factory.mktemp("inference")
    ensure_keys(folder / "keys")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    where = (f"PYTHONPATH={_PYTHONPATH}", f"CANDELA_DATA_DIR={folder}", f"CANDELA_LISTEN={address}")
    process = start(
        ["env", *where, *_QUIET, sys.executable, "-m", "tests.support.tensor_models"],
        folder=_REPOSITORY,
        log=folder / "log",
        identity={},
        parent_gone=signal.SIGKILL,
    )
    try:
        with grpc.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)

            def serves() -> bool:
                if process.poll() is not None:
                    raise RuntimeError(f"the server did not start\n{(folder / 'log').read_text()}")
                try:
                    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1.0, wait_for_ready=True)
                except grpc.RpcError:
                    return False
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

            eventually_sync(serves, timeout=30.0)
        yield Server(address, folder)
    finally:
        stop(process, [signal.SIGTERM])


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    return server.token()


@pytest.mark.parametrize("scenario", _OWN_MODELS)
def test_the_stock_client(client: Driver, server: Server, token: str, scenario: str) -> None:
    client.run(scenario, server.address, token)


def test_the_stock_client_uses_the_models_of_the_mesh(client: Driver, mesh: Mesh) -> None:
    client.run("built_in_models", f"127.0.0.1:{mesh.ports.service('inference')}", service_token(mesh.data.root))


def test_the_example_of_the_docs_does_what_it_says(client: Driver, mesh: Mesh) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (_REPOSITORY / "docs/oip.md").read_text(), re.DOTALL)
    command = f"[{sys.executable!r}, '-m', 'supervisor', 'token']"
    for words, here in (('["make", "-s", "token"]', command), ("8092", str(mesh.ports.service("inference")))):
        assert words in example
        example = example.replace(words, here)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": _PYTHONPATH, "CANDELA_DATA_DIR": str(mesh.data.root)}
    done = subprocess.run(
        [client.python, "-c", example], cwd=_REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("(1, "), done.stderr
