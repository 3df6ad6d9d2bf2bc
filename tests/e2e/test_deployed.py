"""What containers run, without containers: the commands of the images with the settings of deploy/, secrets of
deploy.secrets, mutual TLS between all of them, and the health that an orchestrator asks for.
"""

import contextlib
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.secrets import ensure_secrets
from supervisor.ports import find_free_base
from tests.support.binaries import requires_binary
from tests.support.edge import PASSWORD, new_email
from tests.support.eventually import eventually_sync
from tests.support.redis_server import RedisServer, redis_server

pytestmark = [requires_binary("envoy"), requires_binary("redis-server"), pytest.mark.timeout(120)]

_ROOT = Path(__file__).parents[2]
_HOST = "127.0.0.1"
_READY = 40.0


@dataclass
class Containers:
    """Processes that are started as containers start them."""

    folder: Path
    secrets: Path
    base: int
    redis: RedisServer
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def settings(self, name: str) -> dict[str, str]:
        """Returns the environment of a process group: that of the image and of deploy/."""
        tls = self.secrets / "tls"
        data = self.folder / name
        data.mkdir(exist_ok=True)
        return {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "PYTHONPATH": f"{_ROOT}:{_ROOT / 'clients/python/src'}",
            "PYTHONUTF8": "1",
            "CANDELA_DATA_DIR": str(data),
            "CANDELA_KEYS_DIR": str(self.secrets / "keys"),
            "CANDELA_PORT_BASE": str(self.base),
            "CANDELA_REDIS_URL": self.redis.url,
            "CANDELA_OTLP_ENDPOINT": "off",
            "CANDELA_TLS_CA": str(tls / "ca.crt"),
            "CANDELA_TLS_CERT": str(tls / f"{name}.crt"),
            "CANDELA_TLS_KEY": str(tls / f"{name}.key"),
            "CANDELA_USER_ENDPOINTS": f"localhost:{self.base + 10}",
        }

    def command(self, *argv: str, **more: str) -> None:
        """Runs a command of the services' image to its end."""
        (self.folder / "user" / "db").mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", *argv], cwd=_ROOT, env=self.settings("user") | more, check=True)

    def start(self, name: str, argv: Sequence[str], more: Mapping[str, str]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            environment = self.settings(name) | dict(more)
            self.running[name] = subprocess.Popen(argv, cwd=_ROOT, env=environment, stdout=log, stderr=log)

    def healthy(self, url: str) -> bool:
        """Asks as the image's HEALTHCHECK does; fails when a process has ended."""
        for name, process in self.running.items():
            assert process.poll() is None, (self.folder / f"{name}.log").read_text()[-3000:]
        check = [sys.executable, "-I", "deploy/health.py", url]
        return subprocess.run(check, cwd=_ROOT, capture_output=True, check=False).returncode == 0

    def context(self, name: str = "") -> ssl.SSLContext:
        """Returns what a caller trusts, and shows when it is one of the mesh."""
        tls = self.secrets / "tls"
        context = ssl.create_default_context(cafile=str(tls / "ca.crt"))
        if name:
            context.load_cert_chain(tls / f"{name}.crt", tls / f"{name}.key")
        return context

    def stop(self) -> None:
        for process in self.running.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    folder = tmp_path_factory.mktemp("deployed")
    secrets = folder / "secrets"
    ensure_secrets(secrets)
    with redis_server() as redis:
        made = Containers(folder, secrets, find_free_base(44080 + os.getpid() % 100 * 40), redis)
        try:
            _start(made)
            yield made
        finally:
            made.stop()


def _start(made: Containers) -> None:
    base = made.base
    made.command("services.user.main", "migrate")
    listening = {"CANDELA_LISTEN": f"{_HOST}:{base + 10}", "CANDELA_METRICS_HOST": _HOST}
    made.start("user", ["python", "-m", "services.user.main"], listening | {"CANDELA_METRICS_PORT": str(base + 30)})
    eventually_sync(lambda: made.healthy(f"https://{_HOST}:{base + 30}/health"), timeout=_READY)
    tls = made.secrets / "tls"
    edge = {
        "CANDELA_GATEWAY_SERVICES": "user",
        "CANDELA_GATEWAY_HOST": _HOST,
        "CANDELA_GATEWAY_TLS_CERT": str(tls / "gateway.crt"),
        "CANDELA_GATEWAY_TLS_KEY": str(tls / "gateway.key"),
        "CANDELA_GATEWAY_ACCESS_LOG": "/dev/stdout",
        "CANDELA_METRICS_PORT": str(base + 31),
    }
    made.start("gateway", ["sh", "deploy/gateway.sh"], edge)
    eventually_sync(lambda: made.healthy(f"https://{_HOST}:{base}/health"), timeout=_READY)


def test_a_person_signs_up_and_in_through_tls_on_every_hop(containers: Containers) -> None:
    email = new_email()
    with httpx.Client(base_url=f"https://localhost:{containers.base}", verify=containers.context()) as http:
        assert http.post("/v1/users", json={"email": email, "password": PASSWORD}).status_code == 200
        session = http.post("/v1/sessions", json={"identifier": email, "password": PASSWORD})
        assert session.status_code == 200
        token = session.json()["accessToken"]
        mine = http.get("/v1/users/me", headers={"authorization": f"Bearer {token}"})
        assert mine.json()["email"] == email


def test_a_service_lets_nobody_in_without_a_certificate_of_the_mesh(containers: Containers) -> None:
    url = f"https://localhost:{containers.base + 10}/"
    with pytest.raises(httpx.TransportError):
        httpx.get(url, verify=containers.context())
    with pytest.raises(httpx.TransportError):
        httpx.get(url.replace("https", "http"))


def test_metrics_are_for_holders_of_a_certificate(containers: Containers) -> None:
    url = f"https://localhost:{containers.base + 30}/metrics"
    with httpx.Client(base_url=f"https://localhost:{containers.base}", verify=containers.context()) as http:
        http.post("/v1/sessions", json={"identifier": new_email(), "password": PASSWORD})  # something to count
    assert httpx.get(url, verify=containers.context()).status_code == 403
    page = httpx.get(url, verify=containers.context("prometheus"))
    assert page.status_code == 200
    assert "rpc_server_requests_total" in page.text


def test_health_is_refused_where_nobody_is(containers: Containers) -> None:
    assert not containers.healthy(f"https://{_HOST}:{containers.base + 39}/health")


def test_zz_a_pod_ends_in_order(containers: Containers) -> None:
    """Last in this file: preStop lets Envoy finish, SIGTERM ends both, the service with status 0."""
    admin = str(containers.base + 1821)
    drained = subprocess.run([sys.executable, "-I", "deploy/drain.py", admin, "10"], cwd=_ROOT, check=False)
    assert drained.returncode == 0
    with pytest.raises(httpx.TransportError):
        httpx.get(f"https://localhost:{containers.base}/healthz", verify=containers.context())
    user = containers.running["user"]
    user.send_signal(signal.SIGTERM)
    assert user.wait(20) == 0
    gateway = containers.running["gateway"]
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(20) == 0
