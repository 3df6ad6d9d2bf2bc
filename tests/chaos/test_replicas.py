"""Two of everything: one of two dies, or all are restarted in turn, and no caller is refused."""

from collections.abc import Iterator

import pytest

from tests.support.edge import Edge
from tests.support.eventually import eventually_sync
from tests.support.load import BACK, assert_all_can_log_in
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import metric
from tests.support.steady_load import Tally, steady_load
from tests.support.supervisor_command import supervise

pytestmark = pytest.mark.timeout(300)

_BURST_SECONDS = 1.0
# Cheap passwords: what is under load here is the mesh, not the processor.
_SETTINGS = {"CANDELA_REPLICAS": "2", "CANDELA_USER_BCRYPT_COST": "4"}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh with two of everything."""
    with Mesh.started(tmp_path_factory.mktemp("replicas"), _SETTINGS) as running:
        yield running


def assert_nobody_was_refused(mesh: Mesh, tally: Tally) -> None:
    assert tally.failed == [], tally.account()
    assert_all_can_log_in(mesh, tally.registered)


@pytest.mark.parametrize("name", ["user", "recognition", "inference-2", "envoy", "envoy-2"])
def test_one_of_two_is_killed_and_no_call_fails(mesh: Mesh, name: str) -> None:
    with steady_load(mesh) as tally:
        old = mesh.kill(name)
        tally.wait_for_more()
        mesh.wait_until_back(name, old, timeout=BACK)
    assert_nobody_was_refused(mesh, tally)
    assert tally.burst() <= _BURST_SECONDS, tally.account()


def test_a_rolling_restart_refuses_nobody(mesh: Mesh) -> None:
    before = mesh.pids()
    with steady_load(mesh) as tally:
        done = supervise(mesh.data, "restart")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_nobody_was_refused(mesh, tally)
    after = mesh.pids()
    assert {name for name in before if before[name] == after[name]} == {"supervisor", "redis"}


def test_both_replicas_count_the_same_users(mesh: Mesh) -> None:
    """Background work runs in both: what they find is one truth, and neither undoes what the other does."""
    with Edge(mesh.edge) as edge:
        edge.sign_up()

        def same() -> bool:
            first, second = (metric(mesh, name, "active_users_total") for name in ("user", "user-2"))
            return first == second >= 1

        eventually_sync(same, timeout=BACK)
        assert edge.call("DELETE", "/v1/sessions/current").status_code == 200

        def known_to_all() -> bool:
            return all(edge.call("GET", "/v1/users/me").status_code == 401 for _ in range(6))

        eventually_sync(known_to_all, timeout=BACK)
