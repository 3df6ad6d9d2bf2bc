"""A real MariaDB for tests: on a Unix socket in a folder of its own, gone when the tests are."""

import os
import pwd
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.binaries import find_binary
from tests.support.child_process import Identity, exited_within, start, stop

_ATTEMPTS = 1500  # of 20 ms
_SUPERUSER = "root"
_SETTINGS = (
    "--no-defaults", "--skip-networking", "--skip-name-resolve", "--skip-log-bin", "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=32M", "--key-buffer-size=1M", "--aria-pagecache-buffer-size=4M", "--max-connections=120",
    # As a person's server may be set up: the kit must bring its own sessions and tables into order.
    "--character-set-server=latin1", "--collation-server=latin1_swedish_ci", "--sql-mode=",
    "--default-time-zone=+05:00",
)  # fmt: skip
# Tests may lose their data in a power cut; everything else stays as users have it.
_FORGETFUL = ("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--skip-innodb-doublewrite")


class NoMariaDbError(Exception):
    """No MariaDB server can be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class MariaDbServer:
    """A running server."""

    socket: Path
    pid: int

    def url(self, database: str = "mysql") -> str:
        """Return the SQLAlchemy URL of one of its databases."""
        return f"mysql+aiomysql://{_SUPERUSER}@localhost/{database}?unix_socket={self.socket}"


@contextmanager
def mariadb_server() -> Iterator[MariaDbServer]:
    """Run a fresh server for the length of the block; NoMariaDbError when none can be had."""
    daemon, installer = find_binary("mariadbd"), find_binary("mariadb-install-db")
    if daemon is None or installer is None:
        raise NoMariaDbError("no mariadbd on this machine (Debian package mariadb-server-core)")
    user = _unprivileged_user()
    # Not under pytest's folder: a socket's path may have 107 characters, and root's folders are closed to others.
    with tempfile.TemporaryDirectory(prefix="candela-maria-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        _initialise(installer, folder, user)
        address = folder / "s"
        server = start(
            [daemon, *_SETTINGS, *_FORGETFUL, f"--datadir={folder / 'data'}", f"--socket={address}",
             f"--pid-file={folder / 'pid'}", f"--tmpdir={folder}"],
            folder=folder,
            log=folder / "log",
            identity=_identity(user),
            parent_gone=signal.SIGKILL,
        )  # fmt: skip
        try:
            _wait_until_ready(server, address, folder / "log")
            yield MariaDbServer(address, server.pid)
        finally:
            stop(server, [signal.SIGTERM])


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Return who runs the server: somebody else when we are root, whom MariaDB refuses; else None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("mysql", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoMariaDbError("MariaDB does not run as root and there is no user `mysql` or `nobody` to run it as")


def _identity(user: pwd.struct_passwd | None) -> Identity:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid}


def _initialise(installer: Path, folder: Path, user: pwd.struct_passwd | None) -> None:
    done = subprocess.run(
        [
            installer, "--no-defaults", f"--datadir={folder / 'data'}", "--skip-test-db", "--skip-name-resolve",
            "--auth-root-authentication-method=normal", *_FORGETFUL,
        ],
        capture_output=True, text=True, check=False, cwd=folder, **_identity(user),
    )  # fmt: skip
    if done.returncode != 0:
        raise NoMariaDbError(f"mariadb-install-db failed: {(done.stderr or done.stdout).strip()[-500:]}")


def _wait_until_ready(server: "subprocess.Popen[bytes]", address: Path, log: Path) -> None:
    """Return when the server greets; NoMariaDbError when it gives up or takes half a minute."""
    for _ in range(_ATTEMPTS):
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(address))
            if probe.recv(16):
                return
        if exited_within(server):
            break
    raise NoMariaDbError(f"MariaDB did not start: {log.read_text(errors='replace')[-500:]}")
