"""How long until a setting that an admin changes counts in another process.

From the answer to UpdateSystemConfig, which the user service gives, until the recognition service acts on it: it is
asked without pause with bytes that are no document, which it refuses in another way while it is closed.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import candela
from tests.bench.figures import Figure, Outcome
from tests.support.edge import new_email
from tests.support.mesh import Mesh

_RUNS = 20
_LIMIT_SECONDS = 1.0
_SETTING = "systemConfigs/recognition-closed"
_PASSWORD = "correct horse battery"


def bench() -> Outcome:
    """Close and open recognition again and again."""
    with (
        tempfile.TemporaryDirectory(prefix="candela-bench-") as folder,
        Mesh.started(Path(folder)) as mesh,
        candela.Client(mesh.target) as client,
    ):
        _become_admin(client, mesh)
        taken = [_taken(client, text) for _ in range(_RUNS) for text in ("closed", "")]
    return Outcome((Figure("setting counts elsewhere", "s", tuple(taken), at_most=_LIMIT_SECONDS, judged="worst"),))


def _become_admin(client: candela.Client, mesh: Mesh) -> None:
    client.register(email=(email := new_email()), password=_PASSWORD)
    subprocess.run(
        [sys.executable, "-m", "services.user.main", "make-admin", email],
        env={**os.environ, "CANDELA_DATA_DIR": str(mesh.data.root), "CANDELA_PORT_BASE": str(mesh.ports.base)},
        check=True,
        capture_output=True,
    )
    client.login(email, _PASSWORD)


def _taken(client: candela.Client, text: str) -> float:
    client.system_configs.update(_SETTING, text=text)
    begun = time.perf_counter()
    while _closed(client) != bool(text):
        continue
    return time.perf_counter() - begun


def _closed(client: candela.Client) -> bool:
    try:
        client.documents.recognize(b"no document")
    except candela.FailedPrecondition:
        return True
    except candela.InvalidArgument:
        return False
    raise AssertionError("bytes that are no document were read")
