"""One mesh and one set of doors for the suite."""

from collections.abc import Iterator

import pytest

from tests.conformance.opening import SETTINGS, Tools, opened
from tests.conformance.running import World
from tests.support.mesh import Mesh


@pytest.fixture(scope="session")
def tools() -> Tools:
    """Node, when this machine has one and its packages can be had."""
    return Tools.found()


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh that all cases share; each makes its own people."""
    with Mesh.started(tmp_path_factory.mktemp("mesh"), SETTINGS) as running:
        yield running


@pytest.fixture(scope="session")
def world(mesh: Mesh, tools: Tools) -> Iterator[World]:
    """The mesh with every door into it that this machine can open; test_doors.py says which are missing."""
    with opened(mesh, tools) as world:
        yield world
