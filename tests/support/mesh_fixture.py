"""The one mesh of a test session: import `mesh` into a suite's conftest.py. And what tests ask of a running mesh."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.edge import Edge, new_email
from tests.support.mesh import Mesh
from tests.support.printed_page import png, print_page


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh that every test of the suite shares: tests make their own users and leave it running."""
    with Mesh.started(tmp_path_factory.mktemp("mesh")) as running:
        yield running


def memory_bytes(mesh: Mesh) -> int:
    """Return the resident memory of all processes together, shared pages counted once for each."""
    return sum(psutil.Process(pid).memory_info().rss for pid in mesh.pids().values())


def terminate(mesh: Mesh, name: str) -> int:
    """Ask one process to end, as a rolling restart does, and return the pid it had."""
    pid = mesh.pids()[name]
    os.kill(pid, signal.SIGTERM)
    return pid


@contextmanager
def frozen(mesh: Mesh, name: str) -> Iterator[int]:
    """Let one process stand still inside the block, as one that hangs does; gives its pid."""
    pid = mesh.pids()[name]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        # The supervisor may have lost patience with it meanwhile.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def works(mesh: Mesh) -> bool:
    """Register, log in, have a page read: every process of the mesh has a part in it. False when any of it fails."""
    try:
        with Edge(mesh.edge) as edge:
            if edge.register(email := new_email()).status_code != 200:
                return False
            login = edge.log_in(email)
            if login.status_code != 200:
                return False
            edge.token = login.json()["accessToken"]
            answer = edge.recognize(png(print_page(["Lighthouse"])))
            return answer.status_code == 200 and answer.json()["document"]["text"] == "Lighthouse\n"
    except httpx.TransportError:  # the edge itself is away
        return False


def metric(mesh: Mesh, process: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that carry these labels, from the process's Prometheus page."""
    page = httpx.get(f"http://127.0.0.1:{mesh.ports.metrics(process)}/metrics").text
    samples = (s for family in text_string_to_metric_families(page) for s in family.samples if s.name == name)
    return sum(s.value for s in samples if labels.items() <= s.labels.items())
