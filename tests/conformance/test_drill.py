"""The drill: a service really loses or renames a field, and every runner says so."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.datadir import DataDir
from supervisor.status import read_status
from tests.conformance.contract import METHODS
from tests.conformance.opening import SETTINGS, Tools, opened
from tests.conformance.running import Run, World
from tests.conformance.spoiler import Spoil, Spoiler, dropped, renamed
from tests.conformance.suite import load
from tests.support.mesh import Mesh

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

_LOSSES = [
    ("candela.user.v1.UserService/GetUser", "email"),
    ("candela.user.v1.UserService/RegisterUser", "create_time"),
    ("candela.user.v1.UserService/UpdateUser", "etag"),
    ("candela.user.v1.SessionService/CreateSession", "refresh_token"),
    ("candela.user.v1.SessionService/ListSessions", "sessions"),
    ("candela.user.v1.SessionService/GetJsonWebKeySet", "keys"),
]


@pytest.fixture(scope="module")
def spoiler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Spoiler, Path]]:
    """The proxy, and the folder of the mesh whose user service it stands in front of."""
    folder = tmp_path_factory.mktemp("spoiled")
    proxy = Spoiler(lambda: _address(folder))
    with proxy.listening() as port:
        (folder / "port").write_text(str(port))
        yield proxy, folder


@pytest.fixture(scope="module")
def world(spoiler: tuple[Spoiler, Path], tools: Tools) -> Iterator[World]:
    """A mesh whose edge reaches the user service through the proxy."""
    folder = spoiler[1]
    settings = {**SETTINGS, "CANDELA_USER_ENDPOINTS": f"127.0.0.1:{(folder / 'port').read_text()}"}
    with Mesh.started(folder, settings) as mesh, opened(mesh, tools) as world:
        yield world


def _address(folder: Path) -> str:
    """Return where the user service listens, as the mesh says of itself."""
    status = read_status(DataDir(folder / "data"))
    if status is None:
        return "127.0.0.1:1"  # not yet
    return next(process.address for process in status.processes if process.name == "user")


@pytest.mark.parametrize(("rpc", "field"), _LOSSES)
@pytest.mark.parametrize("change", [dropped, renamed])
def test_every_runner_notices(
    world: World, spoiler: tuple[Spoiler, Path], rpc: str, field: str, change: Callable[[str], Spoil]
) -> None:
    case = next(one for one in load() if one.method.name == rpc and one.expected.kind == "reply")
    for door in world.doors:
        one = Run(case, world)
        one.prepare()
        assert one.problems(door.ask(one.question())) == [], "the case holds while nothing is spoiled"
        again = Run(case, world)
        again.prepare()
        question = again.question()  # whoever is in it is made now, before replies are spoiled
        with spoiler[0].spoiling(METHODS[rpc], change(field)):
            outcome = door.ask(question)
        assert again.problems(outcome), f"{door.name} saw nothing of it"
