"""Running the real Envoy on a configuration that the gateway's builders made."""

import http.client
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from gateway_envoy.build import bootstrap, to_yaml
from gateway_envoy.config import Address, GatewayConfig, StaticFile, Upstream
from gateway_envoy.contract import Access, read_contract
from gateway_envoy.limits import Limits
from tests.gateway.backend import Backend
from tests.support.binaries import require_binary
from tests.support.eventually import eventually_sync

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Returns ports that nobody listened on a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((HOST, 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class Envoy:
    """A running Envoy."""

    config: GatewayConfig
    process: psutil.Process
    log: Path

    @property
    def edge(self) -> int:
        return self.config.edge.port

    @property
    def target(self) -> str:
        """The edge as gRPC clients name it."""
        return f"{HOST}:{self.edge}"

    @property
    def internal(self) -> str:
        return f"{HOST}:{self.config.internal.port}"

    def admin(self, path: str, method: str = "GET") -> str:
        """Asks the admin page."""
        connection = http.client.HTTPConnection(HOST, self.config.admin.port, timeout=5)
        connection.request(method, path)
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def memory(self) -> int:
        """Returns the resident memory in bytes."""
        return int(self.process.memory_info().rss)

    def peak_memory(self) -> int:
        """Returns the largest resident memory so far in bytes."""
        (line,) = [one for one in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if "VmHWM" in one]
        return int(line.split()[1]) * 1024

    def access_log(self) -> list[dict[str, Any]]:
        """Returns the lines of the access log."""
        return [json.loads(line) for line in Path(self.config.access_log).read_text().splitlines()]

    def all_healthy(self) -> bool:
        flags = [line for line in self.admin("/clusters").splitlines() if "::health_flags::" in line]
        return bool(flags) and all(line.endswith("::healthy") for line in flags)


def gateway_config(
    folder: Path,
    descriptor_set: Path,
    backends: list[Backend],
    *,
    limits: Limits | None = None,
    documents: tuple[StaticFile, ...] = (),
    **changes: Any,
) -> GatewayConfig:
    """Returns a gateway for these backends on free ports, its files in a folder that holds `user-jwks.json`."""
    edge, internal, admin = free_ports(3)
    names = {backend.name for backend in backends}
    methods = tuple(method for method in read_contract(descriptor_set) if method.server in names)
    config = GatewayConfig(
        edge=Address(HOST, edge),
        internal=Address(HOST, internal),
        admin=Address(HOST, admin),
        upstreams=tuple(
            Upstream(backend.name, (Address("localhost" if backend.tls else HOST, backend.port),))
            for backend in backends
        ),
        methods=tuple(method for method in methods if method.access is not Access.SERVICE),
        mesh_methods=methods,
        descriptor_set=descriptor_set,
        jwks=folder / "user-jwks.json",
        access_log=str(folder / f"access-{edge}.log"),
        documents=documents,
        limits=limits or Limits(),
    )
    return replace(config, **changes)


@contextmanager
def running(config: GatewayConfig, folder: Path) -> Iterator[Envoy]:
    """Runs Envoy until the end of the block; yields when it is ready and sees all its backends healthy."""
    file = folder / f"envoy-{config.edge.port}.yaml"
    file.write_text(to_yaml(bootstrap(config)))
    log = file.with_suffix(".log")
    command = [str(require_binary("envoy")), "-c", str(file), "--concurrency", "1", "--disable-hot-restart"]
    command += ["--file-flush-interval-msec", "50"]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--log-level", "warning"], stdout=output, stderr=output)
    try:
        envoy = Envoy(config, psutil.Process(process.pid), log)

        def ready() -> bool:
            assert process.poll() is None, log.read_text()[-2000:]
            try:
                return envoy.all_healthy()
            except OSError:
                return False

        eventually_sync(ready, timeout=20)
        yield envoy
    finally:
        process.kill()
        process.wait()
