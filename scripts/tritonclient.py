"""Makes the virtual environment of the stock Triton client: build/tritonclient, apart because it wants protobuf < 7.

Does nothing when the environment fits requirements/tritonclient.txt already. Nothing of the result is committed.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[1]
_LOCK: Final = _ROOT / "requirements/tritonclient.txt"
_HOME: Final = _ROOT / "build/tritonclient"
_LOG: Final = _ROOT / "build/install-tritonclient.log"


class InstallError(Exception):
    """The packages could not be installed, for example because no registry can be reached."""


def prepare() -> Path:
    """Bring the environment up to date and return its Python; raises InstallError."""
    python = _HOME / "bin/python"
    mark = _HOME / ".fits"
    _HOME.parent.mkdir(exist_ok=True)
    with (_HOME.parent / ".tritonclient.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = _fingerprint()
        if mark.is_file() and mark.read_text(encoding="utf-8") == wanted and python.exists():
            return python
        print("==> installing the stock Triton client", flush=True)
        shutil.rmtree(_HOME, ignore_errors=True)
        venv.create(_HOME, with_pip=True)
        _install(python)
        mark.write_text(wanted, encoding="utf-8")
    return python


def _fingerprint() -> str:
    """What the environment must match: the lock, where it lies and which Python made it."""
    return hashlib.sha256(_LOCK.read_bytes() + f"{_HOME}\n{sys.version}".encode()).hexdigest()


def _install(python: Path) -> None:
    # The lock is complete, so nothing is resolved; every file must have the recorded hash.
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes"]
    with _LOG.open("wb") as log:
        done = subprocess.run(
            [python, "-m", "pip", "install", *options, "--requirement", _LOCK],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
        )
    if done.returncode != 0:
        raise InstallError(f"the stock Triton client could not be installed; see {_LOG.relative_to(_ROOT)}")


def main(arguments: list[str]) -> int:
    """Make it and say what could not be. With `--if-possible` an installation that fails is no failure."""
    try:
        prepare()
    except InstallError as error:
        print(error, file=sys.stderr)
        return 0 if arguments == ["--if-possible"] else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
