"""Fixtures of the supervisor's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.supervisor.workshop import Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def is_running() -> Callable[[int], bool]:
    """Says whether a process lives; one that ended and was not waited for yet does not."""

    def check(pid: int) -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state not in "ZX"

    return check
