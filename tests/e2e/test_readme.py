"""What the README files tell people to paste works as it stands there, against a real mesh."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.mesh import Mesh

ROOT = Path(__file__).parents[2]
# The mesh is shared, and others take the address that every example has.
_ADA, _OURS = "ada@example.com", "ada@readme.example.com"


def blocks(path: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / path).read_text(), re.MULTILINE | re.DOTALL)


CLIENT_EXAMPLES = [block for block in blocks("clients/python/README.md", "python") if "import" in block]


@pytest.fixture(scope="module")
def folder(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the checkout in which `make run` runs."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / ".candela").symlink_to(mesh.data.root)
    return folder


def run(command: list[str], folder: Path, mesh: Mesh) -> str:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python" / "src")])
    env = {**os.environ, "PYTHONPATH": paths, "CANDELA_ENDPOINT": mesh.target}
    command = [part.replace(_ADA, _OURS) for part in command]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def pasted(folder: Path, mesh: Mesh) -> str:
    """What the shell requests of the README print."""
    [requests] = [block for block in blocks("README.md", "sh") if "curl" in block]
    return run(["bash", "-euo", "pipefail", "-c", requests.replace("localhost:8080", mesh.target)], folder, mesh)


def test_the_requests_register_log_in_and_read_a_page(pasted: str) -> None:
    user, end = json.JSONDecoder().raw_decode(pasted)
    assert user["email"] == _OURS
    recognition = json.loads(pasted[end:])
    words = recognition["document"]["text"].split()
    for expected in ("Candela", "2026-0142", "Date", "brass", "187.50", "199.50"):
        assert expected in words


@pytest.mark.usefixtures("pasted")
def test_the_python_example_of_the_readme(folder: Path, mesh: Mesh) -> None:
    [example] = blocks("README.md", "python")
    assert "Candela" in run([sys.executable, "-c", example], folder, mesh)


@pytest.mark.parametrize("number", range(len(CLIENT_EXAMPLES)))
def test_the_examples_of_the_client(folder: Path, mesh: Mesh, number: int) -> None:
    assert run([sys.executable, "-c", CLIENT_EXAMPLES[number]], folder, mesh)


def test_the_openapi_document_is_served(mesh: Mesh) -> None:
    document = httpx.get(f"{mesh.edge}/openapi.json").raise_for_status().json()
    assert document["openapi"].startswith("3.1")
    assert "/v1/documents:recognize" in document["paths"]
    descriptors = httpx.get(f"{mesh.edge}/candela.binpb").raise_for_status().content
    assert descriptors == (ROOT / "build" / "candela-public.binpb").read_bytes()
    assert b"candela.inference" not in descriptors
