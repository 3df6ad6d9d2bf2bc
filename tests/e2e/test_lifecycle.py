"""What a person sees who kills a part of the mesh: it comes back, everything else stays, the mesh answers."""

import pytest

from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import works

# How fast it is back is measured by the benches; here it is only asked that it comes back.
_BACK = 30.0


@pytest.mark.parametrize("name", ["redis", "inference", "user", "recognition", "envoy"])
def test_a_killed_process_comes_back(mesh: Mesh, name: str) -> None:
    before = mesh.pids()
    mesh.wait_until_back(name, mesh.kill(name), timeout=_BACK)
    eventually_sync(lambda: works(mesh), timeout=_BACK)
    after = mesh.pids()
    assert {other: pid for other, pid in after.items() if other != name} == {
        other: pid for other, pid in before.items() if other != name
    }
