"""Every case through every door."""

import pytest

from tests.conformance.running import World, run
from tests.conformance.suite import Case, load

# The first test to run also starts the mesh and, where they are not built yet, the Node clients.
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in load()])
def test_case(case: Case, world: World) -> None:
    problems = run(case, world)
    assert not problems, "\n".join(problems)
