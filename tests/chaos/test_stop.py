"""SIGTERM lets calls in flight finish; a supervisor that is killed leaves no process, and its data are whole."""

import contextlib
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.edge import Edge, new_email
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import metric, terminate, works
from tests.support.printed_page import png, print_page, words_of_page

pytestmark = pytest.mark.timeout(300)

_BACK = 60.0
_SERVICE_OF = {
    "user": "candela.user.v1.UserService",
    "recognition": "candela.recognition.v1.RecognitionService",
    "inference": "candela.inference.v1.OcrService",
}


def in_flight(mesh: Mesh, name: str) -> float:
    return metric(mesh, name, "rpc_server_in_flight", service=_SERVICE_OF[name])


@contextmanager
def calling(call: Callable[[], int], times: int) -> Iterator[list[int]]:
    """Make a call from some threads at once; the list has their statuses after the block."""
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(call())) for _ in range(times)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("name", ["recognition", "inference"])
def test_recognitions_in_flight_finish_when_a_service_is_told_to_end(mesh: Mesh, name: str) -> None:
    page = png(print_page(words_of_page(150)))
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        with calling(lambda: edge.recognize(page).status_code, 1) as statuses:
            eventually_sync(lambda: in_flight(mesh, name) > 0, timeout=_BACK)
            pid = terminate(mesh, name)
        assert statuses == [200]
    mesh.wait_until_back(name, pid, timeout=_BACK)
    assert mesh.process(name).restarts > 0
    eventually_sync(lambda: works(mesh), timeout=_BACK)


def test_registrations_in_flight_finish_when_the_user_service_is_told_to_end(mesh: Mesh) -> None:
    """Ten passwords are hashed for seconds; the service has until then. Later ones are told to come back."""
    with Edge(mesh.edge) as edge:
        with calling(lambda: edge.register(new_email()).status_code, 10) as statuses:
            arrived = eventually_sync(lambda: in_flight(mesh, "user"), timeout=_BACK)
            pid = terminate(mesh, "user")
        assert statuses.count(200) >= arrived
        assert set(statuses) <= {200, 503}
    mesh.wait_until_back("user", pid, timeout=_BACK)
    eventually_sync(lambda: works(mesh), timeout=_BACK)


def family(mesh: Mesh) -> list[psutil.Process]:
    """Return the supervisor and everything that it or its processes started."""
    supervisor = psutil.Process(mesh.supervisor.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def test_a_recognition_in_flight_finishes_when_the_whole_mesh_is_told_to_end(tmp_path: Path) -> None:
    page = png(print_page(words_of_page(150)))
    with Mesh.started(tmp_path) as mesh, Edge(mesh.edge) as edge:
        edge.sign_up()
        processes = family(mesh)
        with calling(lambda: edge.recognize(page).status_code, 1) as statuses:
            eventually_sync(lambda: in_flight(mesh, "inference") > 0, timeout=_BACK)
            assert mesh.stop(signal.SIGTERM) == 0
        assert statuses == [200]
        assert [process for process in processes if process.is_running()] == []
        [trace] = [t for t in mesh.traces().latest(10) if t.root.name.endswith("documents:recognize")]
        assert {"gateway", "recognition", "inference"} == {span.service for span in trace.spans.values()}


def endless_pdf() -> bytes:
    """A PDF of 3 KB whose one page draws a form a thousand times, which draws a form a thousand times, …"""
    forms = 10
    again = zlib.compress(b"/A Do " * 1000)
    stream = b"/Length %d/Filter/FlateDecode>>stream\n%b\nendstream" % (len(again), again)
    resources = [b"/Resources<</XObject<</A %d 0 R>>>>" % (number + 1) for number in range(4, 5 + forms)]
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R%b>>" % resources[0],
        b"<<" + stream,
        *(b"<</Type/XObject/Subtype/Form/BBox[0 0 595 842]%b%b" % (inner, stream) for inner in resources[1:]),
        b"<</Type/XObject/Subtype/Form/BBox[0 0 595 842]/Length 17>>stream\n0 0 595 842 re f \nendstream",
    ]
    body = b"".join(b"%d 0 obj\n%b\nendobj\n" % (number, text) for number, text in enumerate(objects, 1))
    return b"%PDF-1.7\n" + body + b"trailer<</Root 1 0 R>>\n%%EOF"


def test_a_killed_supervisor_leaves_no_process_and_whole_data(tmp_path: Path) -> None:
    with Mesh.started(tmp_path) as mesh, Edge(mesh.edge) as edge:
        email = edge.sign_up()
        kept = edge.recognize(png(print_page(["Kept"]))).json()
        with calling(lambda: lost(edge, endless_pdf()), 1):
            eventually_sync(lambda: any("pdf_worker" in " ".join(p.cmdline()) for p in family(mesh)), timeout=_BACK)
            processes = family(mesh)
            os.kill(mesh.supervisor.pid, signal.SIGKILL)
            mesh.supervisor.wait()
        assert len(processes) >= 7
        eventually_sync(lambda: not any(map(alive, processes)), timeout=10)
    with Mesh.started(tmp_path) as again, Edge(again.edge, token=edge.token) as same:
        assert same.call("GET", "/v1/users/me").json()["email"] == email
        assert same.call("GET", f"/v1/{kept['name']}").json() == kept
        assert same.log_in(email).status_code == 200
        assert works(again)


def lost(edge: Edge, content: bytes) -> int:
    """Have a document read while the mesh dies; return 0, as there is no answer."""
    with contextlib.suppress(httpx.TransportError):
        edge.recognize(content)
    return 0


def alive(process: psutil.Process) -> bool:
    """Say whether it runs; one that ended and that nobody has asked about yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
