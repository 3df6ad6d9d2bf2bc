"""`kill -9` of any one process: it comes back, the mesh answers, and nothing that was acknowledged is lost."""

import threading

import pytest

from tests.support.edge import Edge, new_email
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import metric, terminate
from tests.support.printed_page import png, print_page

# How fast it is back is measured by tests/bench/recovery.py; here it is only asked that it comes back.
_BACK = 30.0


def whole_way(mesh: Mesh) -> bool:
    """Register, log in, have a page read: every process of the mesh has a part in it."""
    with Edge(mesh.edge) as edge:
        if edge.register(email := new_email()).status_code != 200:
            return False
        login = edge.log_in(email)
        if login.status_code != 200:
            return False
        edge.token = login.json()["accessToken"]
        answer = edge.recognize(png(print_page(["Lighthouse"])))
        return answer.status_code == 200 and answer.json()["document"]["text"] == "Lighthouse\n"


@pytest.mark.parametrize("name", ["redis", "inference", "user", "recognition", "envoy"])
def test_it_comes_back(mesh: Mesh, name: str) -> None:
    assert whole_way(mesh)
    before = mesh.pids()
    mesh.wait_until_back(name, mesh.kill(name), timeout=_BACK)

    def works() -> bool:
        try:
            return whole_way(mesh)
        except OSError:
            return False

    eventually_sync(works, timeout=_BACK)
    after = mesh.pids()
    assert {other: pid for other, pid in after.items() if other != name} == {
        other: pid for other, pid in before.items() if other != name
    }


def wait_for_more(acknowledged: list[str]) -> None:
    """Wait until five more registrations were acknowledged."""
    enough = len(acknowledged) + 5
    eventually_sync(lambda: len(acknowledged) >= enough, timeout=_BACK)


@pytest.mark.parametrize("name", ["user", "redis"])
def test_nothing_acknowledged_is_lost(mesh: Mesh, name: str) -> None:
    acknowledged: list[str] = []
    stop = threading.Event()

    def register() -> None:
        with Edge(mesh.edge) as edge:
            while not stop.is_set():
                email = new_email()
                if edge.register(email).status_code == 200:
                    acknowledged.append(email)

    threads = [threading.Thread(target=register) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            wait_for_more(acknowledged)
            mesh.wait_until_back(name, mesh.kill(name), timeout=_BACK)
        wait_for_more(acknowledged)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    with Edge(mesh.edge) as edge:
        assert [email for email in acknowledged if edge.log_in(email).status_code != 200] == []


def test_a_revocation_outlives_the_loss_of_redis(mesh: Mesh) -> None:
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        assert edge.call("DELETE", "/v1/sessions/current").status_code == 200
        mesh.wait_until_back("redis", mesh.kill("redis"), timeout=_BACK)
        eventually_sync(lambda: whole_way(mesh), timeout=_BACK)
        assert edge.call("GET", "/v1/recognitions").status_code == 401


@pytest.mark.parametrize("name", ["recognition", "inference"])
def test_sigterm_lets_calls_in_flight_finish(mesh: Mesh, name: str) -> None:
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        page = png(print_page(["Slow", "and", "steady"] * 60))
        answers: list[int] = []
        call = threading.Thread(target=lambda: answers.append(edge.recognize(page).status_code))
        call.start()
        eventually_sync(lambda: metric(mesh, name, "rpc_server_in_flight") > 0, timeout=_BACK)
        pid = terminate(mesh, name)
        call.join()
        assert answers == [200]
        mesh.wait_until_back(name, pid, timeout=_BACK)
