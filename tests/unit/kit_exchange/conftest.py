"""Replicas for the tests of callers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.kit_exchange.replicas import Mesh


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """Where a test starts its replicas."""
    mesh = Mesh(tmp_path / "keys")
    async with mesh.stack:
        yield mesh
    mesh.telemetry.close()
