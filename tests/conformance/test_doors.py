"""Which doors the cases went through."""

import pytest

from tests.conformance.opening import Tools
from tests.conformance.running import World
from tests.conformance.suite import DOORS
from tests.support.binaries import NOT_RUN

# The first test to run also starts the mesh and, where they are not built yet, the Node clients.
pytestmark = pytest.mark.timeout(300)


def test_every_door_is_open(world: World, tools: Tools) -> None:
    if tools.node is None:
        pytest.skip(f"{NOT_RUN}no case went through the Node clients: {tools.lack}")
    assert {door.name for door in world.doors} == set(DOORS)
