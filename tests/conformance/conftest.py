"""One mesh and one set of doors for the suite."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from scripts import client_ts
from scripts.node import Node, NoNodeError
from tests.conformance.doors.door import Door
from tests.conformance.doors.json_edge import JsonEdge
from tests.conformance.doors.node import NAMES, NodeDoor, NodeProcess
from tests.conformance.doors.python_client import AsyncPythonClient, PythonClient
from tests.conformance.people import Wire
from tests.conformance.promotion import Promotion
from tests.conformance.running import World
from tests.support.mesh import Mesh

# Passwords are hashed hundreds of times here; how long that takes is not what is tested. Servers tell what they serve.
_SETTINGS = {"CANDELA_USER_BCRYPT_COST": "4", "CANDELA_REFLECTION": "true"}


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh that all cases share; each makes its own people."""
    with Mesh.started(tmp_path_factory.mktemp("mesh"), _SETTINGS) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Tools:
    """Node with the TypeScript client built for it; or None, and why there is none."""

    node: Node | None
    lack: str = ""


@pytest.fixture(scope="session")
def tools() -> Tools:
    """Node, when this machine has one and its packages can be had."""
    try:
        return Tools(client_ts.prepare())
    except (NoNodeError, client_ts.InstallError) as error:
        return Tools(None, str(error))


@pytest.fixture(scope="session")
def world(mesh: Mesh, tools: Tools) -> Iterator[World]:
    """The mesh with every door into it that this machine can open; test_doors.py says which are missing."""
    with ExitStack() as stack:
        wire, json_edge = Wire(mesh.target), JsonEdge(mesh.edge)
        stack.callback(wire.close)
        stack.callback(json_edge.close)
        doors: list[Door] = [PythonClient(mesh.target), AsyncPythonClient(mesh.target), json_edge]
        if tools.node is not None:
            process = stack.enter_context(NodeProcess.started(tools.node, mesh.edge))
            doors += [NodeDoor(name, process) for name in NAMES]
        yield World(wire, doors, Promotion(wire, mesh))
