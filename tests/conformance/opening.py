"""Opens every door into a mesh that this machine can open."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

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
SETTINGS: Final = {"CANDELA_USER_BCRYPT_COST": "4", "CANDELA_REFLECTION": "true"}


@dataclass(frozen=True, slots=True)
class Tools:
    """Node with the TypeScript client built for it; or None, and why there is none."""

    node: Node | None
    lack: str = ""

    @classmethod
    def found(cls) -> "Tools":
        """Look for Node and build what it runs."""
        try:
            return cls(client_ts.prepare())
        except (NoNodeError, client_ts.InstallError) as error:
            return cls(None, str(error))


@contextmanager
def opened(mesh: Mesh, tools: Tools) -> Iterator[World]:
    """Give the mesh with its doors inside the block."""
    with ExitStack() as stack:
        wire, json_edge = Wire(mesh.target), JsonEdge(mesh.edge)
        stack.callback(wire.close)
        stack.callback(json_edge.close)
        doors: list[Door] = [PythonClient(mesh.target), AsyncPythonClient(mesh.target), json_edge]
        if tools.node is not None:
            process = stack.enter_context(NodeProcess.started(tools.node, mesh.edge))
            doors += [NodeDoor(name, process) for name in NAMES]
        yield World(wire, doors, Promotion(wire, mesh))
