"""The Dockerfile: clean, and everything it names exists. No image is built here (docs/deviations.md)."""

import ast
import json
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.support.binaries import require_binary

_ROOT = Path(__file__).parents[3]
_DOCKERFILE = _ROOT / "deploy/Dockerfile"
_SCRIPTS = ("deploy/health.py", "deploy/drain.py")


def instructions() -> list[tuple[str, str]]:
    """Returns the instructions of the Dockerfile, continued lines joined."""
    lines = "\n".join(line for line in _DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined if line.strip())]


def stages() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for instruction, rest in instructions():
        if instruction == "FROM":
            name = rest.rpartition(" AS ")[2]
        found.setdefault(name, []).append((instruction, rest))
    return found


def copied_from_here() -> list[str]:
    return [
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in shlex.split(rest)[:-1]
    ]


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([require_binary("hadolint"), _DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("source", copied_from_here())
def test_what_is_copied_exists_and_travels_to_the_builder(source: str) -> None:
    assert (_ROOT / source).exists()
    kept = [line[1:] for line in (_ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert any(source == one or source.startswith(f"{one}/") for one in kept)


def test_nothing_travels_for_nothing() -> None:
    kept = [line[1:] for line in (_ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(kept) == sorted(copied_from_here())


@pytest.mark.parametrize("image", ["services", "gateway"])
def test_an_image_runs_as_nobody_and_says_how_it_is(image: str) -> None:
    names = [name for name, _ in stages()[image]]
    values = dict(stages()[image])
    assert values["USER"] == "10001:10001"
    assert names.index("USER") < names.index("ENTRYPOINT")
    check = json.loads(values["HEALTHCHECK"].partition("CMD ")[2])
    assert check == ["python", "-I", "deploy/health.py", "https://127.0.0.1:8000/health"]
    assert "8000" in values["EXPOSE"].split()


def test_packages_are_those_of_the_lock_file_only() -> None:
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "--no-deps" in installs[0]
    assert not [rest for name, rest in instructions() if name == "RUN" and re.search(r"\b(apt|curl|wget)\b", rest)]


def test_the_base_is_named_once() -> None:
    assert dict(instructions())["ARG"].startswith("PYTHON_IMAGE=python:3.11-")
    foreign = [rest for name, rest in instructions() if name == "FROM" and rest.split()[0] not in stages()]
    assert {rest.split()[0] for rest in foreign} == {"${PYTHON_IMAGE}"}


def test_what_images_import_is_in_them() -> None:
    """Nothing that a server imports is left out: no package of ours beyond those that are copied."""
    copied = {
        rest.split()[-1].split("/")[0]
        for stage in ("base", "services", "gateway")
        for name, rest in stages()[stage]
        if name == "COPY"
    }
    for package in ("services", "inference_server", "observability", "gateway_envoy"):
        for file in (_ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                module = node.module if isinstance(node, ast.ImportFrom) else ""
                ours = (module or "").split(".")[0]
                if ours in {"supervisor", "scripts", "tests", "deploy", "openapi"}:
                    assert ours in copied, (file, module)


def commands() -> set[tuple[str, ...]]:
    """Returns every argument list that a container of deploy/ gives to the services' image."""
    compose = yaml.safe_load((_ROOT / "deploy/compose/compose.yaml").read_text())["services"].values()
    found = {tuple(one["command"]) for one in compose if "services" in str(one.get("image", "")) and "command" in one}
    for file in (_ROOT / "deploy/kubernetes/base").glob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            if document.get("kind") == "Deployment":
                pod = document["spec"]["template"]["spec"]
                containers = [*pod.get("initContainers", []), *pod["containers"]]
                found |= {tuple(one["args"]) for one in containers if "args" in one}
    return found


@pytest.mark.parametrize("command", sorted(commands()), ids=" ".join)
def test_every_command_exists(command: tuple[str, ...]) -> None:
    module, *words = command
    spec = find_spec(f"{module}.__main__") if (_ROOT / module.replace(".", "/")).is_dir() else find_spec(module)
    assert spec is not None
    assert words in ([], ["migrate"])


@pytest.mark.parametrize("script", _SCRIPTS)
def test_helpers_need_nothing_but_python(script: str) -> None:
    """They run with `-I`, outside of the environment of packages."""
    modules = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse((_ROOT / script).read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert modules <= {"ssl", "sys", "time", "urllib"}


def test_the_gateways_script_drains_as_long_as_its_helper_waits() -> None:
    drain = (_ROOT / "deploy/drain.py").read_text()
    seconds = re.search(r"^_DRAIN_SECONDS = ([\d.]+)$", drain, re.MULTILINE)
    assert seconds is not None
    assert f"--drain-time-s {float(seconds[1]):g} " in (_ROOT / "deploy/gateway.sh").read_text()
