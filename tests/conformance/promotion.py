"""How the people of a case become admins."""

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from tests.conformance.contract import METHODS
from tests.conformance.people import People, Wire
from tests.support.mesh import Mesh

_SET_ROLE: Final = METHODS["candela.user.v1.UserAdminService/SetUserRole"]


class Promotion:
    """Makes admins: the first the way an operator does, all others by asking the first."""

    def __init__(self, wire: Wire, mesh: Mesh) -> None:
        self._wire = wire
        self._mesh = mesh

    def __call__(self, user: str, email: str) -> None:
        """Give ROLE_ADMIN to `users/…`."""
        outcome = self._wire.call(_SET_ROLE, {"name": user, "role": "ROLE_ADMIN"}, self._first["accessToken"])
        assert outcome.failure is None, outcome.failure

    @cached_property
    def _first(self) -> Mapping[str, str]:
        return People(self._wire, self._by_command).facts("admin")

    def _by_command(self, user: str, email: str) -> None:
        """Do what `make admin` does."""
        subprocess.run(
            [sys.executable, "-m", "services.user.main", "make-admin", email],
            env={
                **os.environ,
                "CANDELA_DATA_DIR": str(self._mesh.data.root),
                "CANDELA_PORT_BASE": str(self._mesh.ports.base),
            },
            check=True,
            capture_output=True,
        )
