"""Load on a mesh whose parts die: the same request is sent until it is acknowledged, and what was is counted."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from tests.support.edge import Edge, new_email
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.printed_page import png, print_page

BACK = 60.0
"""Seconds a process may take to be back. How fast it is, is measured by the benches."""
_KILLS = 3
_WORD = "Kept"


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

    response = eventually_sync(answered, timeout=BACK)
    assert response is not None
    return response


def register_into(mesh: Mesh, acknowledged: list[str]) -> Callable[[], None]:
    """Return the work of registering somebody and noting the e-mail address."""

    def register() -> None:
        email, request_id = new_email(), str(uuid.uuid4())
        # The repeat of one that was stored before its answer was lost is answered as the first would have been.
        with Edge(mesh.edge) as edge:
            until_acknowledged(lambda: edge.register(email, request_id))
        acknowledged.append(email)

    return register


def recognise_into(mesh: Mesh, token: str, acknowledged: list[str]) -> Callable[[], None]:
    """Return the work of having a page read and noting the recognition's name."""
    page = png(print_page([_WORD]))

    def recognise() -> None:
        request_id = str(uuid.uuid4())
        with Edge(mesh.edge, token=token) as edge:
            answer = until_acknowledged(lambda: edge.recognize(page, requestId=request_id))
        acknowledged.append(answer.json()["name"])

    return recognise


def kill_while(mesh: Mesh, name: str, acknowledged: list[str]) -> None:
    """Kill a process some times, each time after a few more answers; return when there are answers again."""
    for _ in range(_KILLS):
        wait_for_more(acknowledged)
        mesh.wait_until_back(name, mesh.kill(name), timeout=BACK)
    wait_for_more(acknowledged)


def wait_for_more(acknowledged: list[str]) -> None:
    """Wait until five more are acknowledged."""
    enough = len(acknowledged) + 5
    eventually_sync(lambda: len(acknowledged) >= enough, timeout=BACK)


def assert_all_can_log_in(mesh: Mesh, emails: list[str]) -> None:
    with Edge(mesh.edge) as edge:
        assert [email for email in emails if edge.log_in(email).status_code != 200] == []


def assert_history_is(edge: Edge, names: list[str]) -> None:
    """Check that a user's history holds exactly these recognitions, each whole."""
    assert sorted(_history(edge)) == sorted(names)
    for name in names:
        assert edge.call("GET", f"/v1/{name}").json()["document"]["text"] == f"{_WORD}\n"


def _history(edge: Edge) -> list[str]:
    names: list[str] = []
    token = ""
    while True:
        response = edge.call("GET", "/v1/recognitions", params={"pageSize": 50, "pageToken": token})
        assert response.status_code == 200, response.text
        page = response.json()
        names += [entry["name"] for entry in page["recognitions"]]
        if not (token := page["nextPageToken"]):
            return names
