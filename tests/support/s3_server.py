"""An S3 server for tests: moto's, when it is installed (it is large, and no part of what `make test` installs)."""

import itertools
import signal
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.binaries import require_binary
from tests.support.child_process import exited_within, start, stop

_ATTEMPTS = 1500  # of 20 ms
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of the session's S3."""
    binary = require_binary("moto_server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="candela-s3-") as name:
        folder = Path(name)
        command: list[str | Path] = [binary, "-H", "127.0.0.1", "-p", str(port)]
        server = start(command, folder=folder, log=folder / "log", identity={}, parent_gone=signal.SIGKILL)
        try:
            _wait_until_it_listens(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            stop(server, [signal.SIGTERM])


@pytest.fixture
def s3_url(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, with the credentials that moto takes."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    bucket = f"bucket{next(_numbers)}"
    request = urllib.request.Request(f"{s3_server}/{bucket}", method="PUT")  # noqa: S310 - our own address
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        return f"s3://{bucket}/candela?region=us-east-1&endpoint={s3_server}"


def _wait_until_it_listens(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(_ATTEMPTS):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if exited_within(server):
            break
    raise RuntimeError("the S3 server did not start")
