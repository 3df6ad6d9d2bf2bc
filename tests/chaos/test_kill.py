"""`kill -9` of a process under load: nothing that was acknowledged is lost, nothing is done twice."""

import pytest

from tests.support.edge import Edge
from tests.support.eventually import eventually_sync
from tests.support.load import (
    BACK,
    assert_all_can_log_in,
    assert_history_is,
    at_work,
    kill_while,
    recognise_into,
    register_into,
)
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import works
from tests.support.printed_page import png, print_page

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("name", ["user", "redis", "envoy"])
def test_no_registration_is_lost_or_made_twice(mesh: Mesh, name: str) -> None:
    acknowledged: list[str] = []
    with at_work(register_into(mesh, acknowledged)):
        kill_while(mesh, name, acknowledged)
    assert_all_can_log_in(mesh, acknowledged)


@pytest.mark.parametrize("name", ["recognition", "inference"])
def test_no_recognition_is_lost_or_made_twice(mesh: Mesh, name: str) -> None:
    acknowledged: list[str] = []
    with Edge(mesh.edge) as ada:
        ada.sign_up()
        with at_work(recognise_into(mesh, ada.token, acknowledged)):
            kill_while(mesh, name, acknowledged)
        assert_history_is(ada, acknowledged)


def test_a_revocation_outlives_the_loss_of_redis(mesh: Mesh) -> None:
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        assert edge.call("DELETE", "/v1/sessions/current").status_code == 200
        mesh.wait_until_back("redis", mesh.kill("redis"), timeout=BACK)
        eventually_sync(lambda: works(mesh), timeout=BACK)
        assert edge.call("GET", "/v1/recognitions").status_code == 401


def test_everything_at_once(mesh: Mesh) -> None:
    """All processes killed in the same moment, as a machine that runs out of memory may do."""
    with Edge(mesh.edge) as ada:
        ada.sign_up()
        kept = ada.recognize(png(print_page(["Before"]))).json()
        old = {name: mesh.kill(name) for name in ("envoy", "recognition", "user", "inference", "redis")}
        for name, pid in old.items():
            mesh.wait_until_back(name, pid, timeout=BACK)
        eventually_sync(lambda: works(mesh), timeout=BACK)
        assert ada.call("GET", f"/v1/{kept['name']}").json() == kept
