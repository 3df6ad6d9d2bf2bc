"""The lock is made with one Python and installed with others: it holds what each of them needs."""

import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_REQUIREMENTS = Path(__file__).parents[2] / "requirements"
# Debian 12 has 3.11.2, Ubuntu 24.04 has 3.12.3.
_PYTHONS = ("3.11.2", "3.12.3", "3.13.0")
# Excluded in the lock with a reason: scripts/lock.sh, requirements/weights.in.
_LEFT_OUT = {"opencv-python", "agentocr"}


def locked(purpose: str) -> set[str]:
    names = re.findall(r"^([A-Za-z0-9._-]+)==", (_REQUIREMENTS / f"{purpose}.txt").read_text(), re.MULTILINE)
    return {canonicalize_name(name) for name in names}


@pytest.mark.parametrize("purpose", ["run", "dev"])
@pytest.mark.parametrize("python", _PYTHONS)
def test_the_lock_is_complete(purpose: str, python: str) -> None:
    have = locked(purpose)
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}
    missing = {
        (name, wanted.name)
        for name in have
        for wanted in map(Requirement, importlib.metadata.requires(name) or ())
        if wanted.marker is None or wanted.marker.evaluate(environment)
        if canonicalize_name(wanted.name) not in have | _LEFT_OUT
    }
    assert missing == set()
