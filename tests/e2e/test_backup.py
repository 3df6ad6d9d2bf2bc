"""The restore drill, short: back up a mesh that runs, destroy its data, restore, and find everybody again."""

import base64
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from supervisor.datadir import DataDir
from tests.support.edge import Edge, new_email
from tests.support.mesh import Mesh
from tests.support.printed_page import png, print_page
from tests.support.supervisor_command import supervise

pytestmark = pytest.mark.timeout(180)


def test_what_was_backed_up_is_there_after_the_data_were_destroyed(tmp_path: Path) -> None:
    archive, settings = tmp_path / "backup.tar", {"CANDELA_USER_BCRYPT_COST": "4"}
    with Mesh.started(tmp_path, settings) as mesh, Edge(mesh.edge) as ada:
        before = ada.sign_up()
        kept = ada.recognize(png(print_page(["Lighthouse"]))).raise_for_status().json()
        note = {"filename": "note.txt", "content": base64.b64encode(b"kept").decode(), "contentType": "text/plain"}
        file = ada.call("POST", "/v1/files", note).raise_for_status().json()["name"]
        token = ada.token
        backed_up = supervise(mesh.data, "backup", str(archive))
        assert backed_up.returncode == 0, backed_up.stderr
        after = new_email()
        assert ada.register(after).status_code == 200
        assert supervise(mesh.data, "restore", str(archive), "--force").returncode == 1  # it runs
    shutil.rmtree(tmp_path / "data")

    began = time.monotonic()
    restored = supervise(DataDir(tmp_path / "data"), "restore", str(archive))
    assert restored.returncode == 0, restored.stderr
    assert re.search(r"RTO \d+\.\d+ s", restored.stdout)
    assert re.search(r"RPO \d+\.\d s", restored.stdout)
    with Mesh.started(tmp_path, settings) as mesh, Edge(mesh.edge) as ada:
        print(f"RTO with the start: {time.monotonic() - began:.1f} s")
        assert ada.log_in(after).status_code == 401  # registered after the backup
        ada.token = token  # the keys are the same, so sessions go on
        assert ada.call("GET", f"/v1/{kept['name']}").json() == kept
        assert ada.call("GET", f"/v1/{file}:download").content == b"kept"
        assert ada.log_in(before).status_code == 200
        status = json.loads(mesh.data.status_file.read_text())
        assert {process["restarts"] for process in status["processes"]} == {0}
