"""One mesh for the suite."""

from tests.support.mesh_fixture import mesh

__all__ = ["mesh"]
