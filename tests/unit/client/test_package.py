"""The distribution: cheap to import, complete, without what is internal; its README works."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

import candela
from candela.type.v1 import job_pb2
from tests.support.eventually import eventually_sync
from tests.unit.client.fake_candela import World
from tests.unit.client.fake_work import Work

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "clients" / "python"

_TIMED = """
import sys, time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start, sorted({{"grpc", "google.protobuf"}} & set(sys.modules)))
"""


def timed_import(module: str) -> tuple[float, str]:
    code = _TIMED.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, _, loaded = done.stdout.strip().partition(" ")
    return float(seconds), loaded


def test_importing_candela_is_cheap_and_loads_nothing() -> None:
    def cheaper_than_grpc() -> bool:
        seconds, loaded = timed_import("candela")
        assert loaded == "[]"
        return seconds < min(0.3, timed_import("grpc")[0] / 2)

    # A busy machine may stop one of the two processes; what is wrong stays wrong.
    eventually_sync(cheaper_than_grpc, timeout=20)


@pytest.mark.parametrize("name", candela.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(candela, name)
    assert name in dir(candela)


def test_other_names_cannot() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = candela.Nothing  # type: ignore[attr-defined] # what is not there is what is tested


def internal_packages() -> set[str]:
    root = ROOT / "protos" / "internal"
    return {path.relative_to(root).parts[1] for path in root.rglob("*.proto")}


def test_every_internal_contract_is_left_out() -> None:
    settings = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))
    exclude = settings["tool"]["setuptools"]["packages"]["find"]["exclude"]
    public = {path.name for path in (ROOT / "protos" / "public" / "candela").iterdir()}
    for package in internal_packages():
        assert any(fnmatch(f"candela.{package}.v1", pattern) for pattern in exclude), package
    for package in public:
        assert not any(fnmatch(f"candela.{package}.v1", pattern) for pattern in exclude), package


def test_the_wheel_holds_the_client_and_the_public_contracts(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], check=True, capture_output=True, timeout=50)
    (wheel,) = tmp_path.glob("candela_client-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"candela/client.py", "candela/py.typed", "buf/validate/validate_pb2.py"} <= set(names)
    assert {"candela/api/resources.py", "candela/api/users.py", "candela/api/py.typed"} <= set(names)
    for package in (path.name for path in (ROOT / "protos" / "public" / "candela").iterdir()):
        assert any(name.startswith(f"candela/{package}/v1/") and name.endswith("_pb2.pyi") for name in names), package
    assert not [name for name in names if name.split("/")[1] in internal_packages()]


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL)


PROGRAMS = [number for number, example in enumerate(examples()) if "import" in example]
FRAGMENTS = [number for number, example in enumerate(examples()) if "import" not in example]
PREAMBLE = """
import candela

client = candela.Client()
client.login("ada@example.org", "correct horse battery")
"""


def run(code: str, endpoint: str, folder: Path) -> None:
    page = folder / ".candela" / "sample-page.png"
    page.parent.mkdir()
    page.write_bytes(b"a page")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"CANDELA_ENDPOINT": endpoint, "PYTHONPATH": str(PACKAGE / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", PROGRAMS)
def test_the_programs_of_the_readme_work_as_pasted(number: int, endpoint: str, world: World, tmp_path: Path) -> None:
    run(examples()[number], endpoint, tmp_path)
    if "login" in examples()[number]:
        assert [call.method for call in world.seen][:2] == ["RegisterUser", "CreateSession"]
        assert world.seen[-1].method == "DeleteSession"
        assert world.calls("RecognizeDocument")[0].request.content == b"a page"


@pytest.mark.parametrize("number", FRAGMENTS)
def test_the_lines_of_the_readme_work_with_a_client(number: int, endpoint: str, work: Work, tmp_path: Path) -> None:
    work.ends = [job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_SUCCEEDED]
    run(PREAMBLE + examples()[number], endpoint, tmp_path)


def test_all_examples_are_tried() -> None:
    assert (len(PROGRAMS), len(FRAGMENTS)) == (3, 4)
