"""A part is away for longer than a restart takes: callers are told so at once, with when to come back, and it heals."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.edge import Edge, reason_of
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import frozen, works
from tests.support.printed_page import png, print_page

pytestmark = pytest.mark.timeout(300)

_BACK = 60.0


@pytest.fixture
def ada(mesh: Mesh) -> Iterator[Edge]:
    """Somebody new, signed in."""
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        yield edge


def assert_told_to_come_back(response: httpx.Response) -> None:
    assert response.status_code == 503, response.text
    assert response.json()["error"]["status"] == "UNAVAILABLE"
    reason_of(response)
    assert int(response.headers["retry-after"]) >= 1


def test_without_redis_signed_in_calls_are_refused_after_the_bound_and_others_go_on(mesh: Mesh, ada: Edge) -> None:
    with frozen(mesh, "redis"):
        for path in ("/v1/users/me", "/v1/recognitions"):

            def refused(path: str = path) -> httpx.Response | None:
                response = ada.call("GET", path)
                return response if response.status_code != 200 else None

            response = eventually_sync(refused, timeout=_BACK)
            assert response is not None
            assert_told_to_come_back(response)
        with Edge(mesh.edge) as eve:
            email = eve.sign_up()
            assert eve.log_in(email, "not the password").status_code == 401
            assert_told_to_come_back(eve.call("GET", "/v1/users/me"))
            assert eve.call("GET", "/healthz").status_code == 200
    eventually_sync(lambda: ada.call("GET", "/v1/users/me").status_code == 200, timeout=_BACK)
    eventually_sync(lambda: works(mesh), timeout=_BACK)


def test_a_frozen_service_is_replaced_and_nobody_waits_for_ever(mesh: Mesh, ada: Edge) -> None:
    with frozen(mesh, "inference") as pid:
        response = ada.recognize(png(print_page(["Late"])))
        if response.status_code != 200:
            assert_told_to_come_back(response)
        mesh.wait_until_back("inference", pid, timeout=_BACK)
    assert ada.recognize(png(print_page(["Later"]))).json()["document"]["text"] == "Later\n"


def test_without_inference_a_recognition_is_told_to_come_back(tmp_path: Path) -> None:
    # The edge must not wait for it, or the mesh would not count as started.
    nowhere = {"CANDELA_INFERENCE_ENDPOINTS": "127.0.0.1:1", "CANDELA_GATEWAY_SERVICES": "user,recognition"}
    with Mesh.started(tmp_path, nowhere) as mesh, Edge(mesh.edge) as edge:
        edge.sign_up()
        assert_told_to_come_back(edge.recognize(png(print_page(["Nobody", "reads", "this"]))))
        assert edge.call("GET", "/v1/recognitions").json()["recognitions"] == []


def test_with_no_model_loaded_a_recognition_is_told_to_come_back(tmp_path: Path) -> None:
    with Mesh.started(tmp_path, {"CANDELA_INFERENCE_MODELS": " "}) as mesh, Edge(mesh.edge) as edge:
        edge.sign_up()
        assert_told_to_come_back(edge.recognize(png(print_page(["Nobody", "reads", "this"]))))
