"""The restore drill under load: a mesh that is written to is backed up, destroyed and restored; RTO and RPO are shown.

Everything that was acknowledged before the backup began is there afterwards; what was acknowledged after it ended is
not. The printed figures are this machine's: `make test-long ARGS="-k drill -s"`.
"""

import re
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from supervisor.datadir import DataDir
from tests.support.edge import Edge
from tests.support.load import assert_history_is, at_work, recognise_into, register_into, wait_for_more
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import works
from tests.support.supervisor_command import supervise

pytestmark = pytest.mark.timeout(600)

_RTO_SECONDS = 300.0
_RPO_SECONDS = 3600.0
_SETTINGS = {"CANDELA_USER_BCRYPT_COST": "4", "CANDELA_REPLICAS": "2"}


def test_restore_drill(tmp_path: Path) -> None:
    archive = tmp_path / "backup.tar"
    registered: list[str] = []
    recognised: list[str] = []
    with Mesh.started(tmp_path, _SETTINGS) as mesh, Edge(mesh.edge) as ada:
        ada.sign_up()
        token = ada.token
        with at_work(recognise_into(mesh, token, recognised), threads=1):
            wait_for_more(recognised)
        with at_work(register_into(mesh, registered)):
            wait_for_more(registered)
            before = list(registered)
            done = supervise(mesh.data, "backup", str(archive))
            assert done.returncode == 0, done.stderr
            after = len(registered) + 3  # those whose registration was under way may be in it
            wait_for_more(registered)
        lost = registered[after:]
        assert lost
        destroyed_at = datetime.now(UTC)
        mesh.stop(signal.SIGTERM)
    shutil.rmtree(tmp_path / "data")

    began = time.monotonic()
    restored = supervise(DataDir(tmp_path / "data"), "restore", str(archive))
    assert restored.returncode == 0, restored.stderr
    with Mesh.started(tmp_path, _SETTINGS) as mesh, Edge(mesh.edge, token=token) as ada:
        rto = time.monotonic() - began
        assert [email for email in before if ada.log_in(email).status_code != 200] == []
        assert [email for email in lost if ada.log_in(email).status_code != 401] == []
        assert_history_is(ada, recognised)
        assert works(mesh)
    found = re.search(r"backup of (\S+ \S+) UTC", restored.stdout)
    assert found
    rpo = (destroyed_at - datetime.fromisoformat(f"{found[1]}+00:00")).total_seconds()
    print(f"\n{done.stdout}{restored.stdout}measured: RTO {rto:.1f} s until the mesh answered, RPO {rpo:.1f} s")
    assert rto < _RTO_SECONDS
    assert 0 <= rpo < _RPO_SECONDS
