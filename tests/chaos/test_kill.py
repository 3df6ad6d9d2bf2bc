"""`kill -9` of a process under load: nothing that was acknowledged is lost, nothing is done twice."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.support.edge import Edge, new_email
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import works
from tests.support.printed_page import png, print_page

pytestmark = pytest.mark.timeout(300)

_BACK = 60.0
_KILLS = 3


class UnexpectedError(Exception):
    """An answer that no caller should see while a process is away."""


@contextmanager
def at_work(work: Callable[[], None], threads: int = 3) -> Iterator[None]:
    """Do `work` again and again in some threads while the block runs; what it raises fails the test."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def again() -> None:
        try:
            while not stop.is_set():
                work()
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            failures.append(error)

    crew = [threading.Thread(target=again) for _ in range(threads)]
    for thread in crew:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in crew:
            thread.join()
    if failures:
        raise failures[0]


def until_acknowledged(send: Callable[[], httpx.Response]) -> httpx.Response:
    """Send the same request until it is answered: 503 and a lost connection are the only other things to happen."""

    def answered() -> httpx.Response | None:
        try:
            response = send()
        except httpx.TransportError:
            return None
        if response.status_code not in {200, 503}:
            raise UnexpectedError(f"{response.status_code} {response.text}")
        return response if response.status_code == 200 else None

    response = eventually_sync(answered, timeout=_BACK)
    assert response is not None
    return response


def kill_while(mesh: Mesh, name: str, acknowledged: list[str]) -> None:
    """Kill a process some times, each time after a few more answers; return when there are answers again."""
    for _ in range(_KILLS):
        wait_for_more(acknowledged)
        mesh.wait_until_back(name, mesh.kill(name), timeout=_BACK)
    wait_for_more(acknowledged)


def wait_for_more(acknowledged: list[str]) -> None:
    enough = len(acknowledged) + 5
    eventually_sync(lambda: len(acknowledged) >= enough, timeout=_BACK)


@pytest.mark.parametrize("name", ["user", "redis", "envoy"])
def test_no_registration_is_lost_or_made_twice(mesh: Mesh, name: str) -> None:
    acknowledged: list[str] = []

    def register() -> None:
        email, request_id = new_email(), str(uuid.uuid4())
        # The repeat of one that was stored before its answer was lost is answered as the first would have been.
        with Edge(mesh.edge) as edge:
            until_acknowledged(lambda: edge.register(email, request_id))
        acknowledged.append(email)

    with at_work(register):
        kill_while(mesh, name, acknowledged)
    with Edge(mesh.edge) as edge:
        assert [email for email in acknowledged if edge.log_in(email).status_code != 200] == []


@pytest.mark.parametrize("name", ["recognition", "inference"])
def test_no_recognition_is_lost_or_made_twice(mesh: Mesh, name: str) -> None:
    acknowledged: list[str] = []
    page = png(print_page(["Kept"]))
    with Edge(mesh.edge) as ada:
        ada.sign_up()

        def recognise() -> None:
            request_id = str(uuid.uuid4())
            with Edge(mesh.edge, token=ada.token) as edge:
                answer = until_acknowledged(lambda: edge.recognize(page, requestId=request_id))
            acknowledged.append(answer.json()["name"])

        with at_work(recognise):
            kill_while(mesh, name, acknowledged)
        assert sorted(history(ada)) == sorted(acknowledged)
        for kept in acknowledged:
            assert ada.call("GET", f"/v1/{kept}").json()["document"]["text"] == "Kept\n"


def history(edge: Edge) -> list[str]:
    """Return the names of everything in a user's history."""
    names: list[str] = []
    token = ""
    while True:
        response = edge.call("GET", "/v1/recognitions", params={"pageSize": 50, "pageToken": token})
        assert response.status_code == 200, response.text
        page = response.json()
        names += [entry["name"] for entry in page["recognitions"]]
        if not (token := page["nextPageToken"]):
            return names


def test_a_revocation_outlives_the_loss_of_redis(mesh: Mesh) -> None:
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        assert edge.call("DELETE", "/v1/sessions/current").status_code == 200
        mesh.wait_until_back("redis", mesh.kill("redis"), timeout=_BACK)
        eventually_sync(lambda: works(mesh), timeout=_BACK)
        assert edge.call("GET", "/v1/recognitions").status_code == 401


def test_everything_at_once(mesh: Mesh) -> None:
    """All processes killed in the same moment, as a machine that runs out of memory may do."""
    with Edge(mesh.edge) as ada:
        ada.sign_up()
        kept = ada.recognize(png(print_page(["Before"]))).json()
        old = {name: mesh.kill(name) for name in ("envoy", "recognition", "user", "inference", "redis")}
        for name, pid in old.items():
            mesh.wait_until_back(name, pid, timeout=_BACK)
        eventually_sync(lambda: works(mesh), timeout=_BACK)
        assert ada.call("GET", f"/v1/{kept['name']}").json() == kept
