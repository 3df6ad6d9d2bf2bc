"""The TypeScript package does what it says: its own tests, and every snippet of its README, compiled and run."""

import re
import subprocess
from pathlib import Path

import pytest

from scripts.client_ts import HOME
from scripts.node import Node
from tests.conformance.opening import Tools
from tests.support.binaries import NOT_RUN
from tests.support.edge import new_email
from tests.support.mesh import Mesh
from tests.support.printed_page import png, print_page

# The first test to run also starts the mesh and, where they are not built yet, the Node clients.
pytestmark = pytest.mark.timeout(300)

_SNIPPET = re.compile(r"(?P<not_run><!-- not run: [^\n]*-->\n)?```ts\n(?P<code>.*?)```", re.DOTALL)
_IMPORT = re.compile(r"^import .*?;\n", re.MULTILINE)


@pytest.fixture
def node(tools: Tools) -> Node:
    """Node with the package built."""
    if tools.node is None:
        pytest.skip(f"{NOT_RUN}{tools.lack}")
    return tools.node


def test_the_package_passes_its_own_tests(node: Node) -> None:
    tests = sorted(str(path) for path in HOME.glob("dist/tests/*.test.js"))
    assert len(tests) >= 3
    told = _run(node, "--test", "--test-reporter=tap", *tests, cwd=HOME)
    assert "\n# fail 0\n" in told


def test_every_snippet_of_the_readme_works(node: Node, mesh: Mesh, tmp_path: Path) -> None:
    script = _script((HOME / "README.md").read_text(encoding="utf-8"))
    script = script.replace("http://localhost:8080", mesh.edge).replace("ada@example.com", email := new_email())
    (tmp_path / "readme.mts").write_text(script, encoding="utf-8")
    (tmp_path / "letter.png").write_bytes(png(print_page(["Lighthouse"]).crop((60, 60, 540, 220))))
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/candela-client").symlink_to(HOME)
    compiler = HOME / "node_modules/typescript/bin/tsc"
    types = ["--typeRoots", str(HOME / "node_modules/@types"), "--types", "node"]
    target = ["--strict", "--target", "ES2022", "--module", "NodeNext", "--lib", "ES2022,DOM,ESNext.Disposable"]
    _run(node, str(compiler), *target, *types, "--skipLibCheck", "readme.mts", cwd=tmp_path)
    told = _run(node, "readme.mjs", cwd=tmp_path)
    for said in (f"{email} free", "Lighthouse", "INVALID_ARGUMENT", "password: ", "in the traces: ", "my laptop"):
        assert said in told, told


def _script(readme: str) -> str:
    """Return all snippets as one program; those that say that they are not run are only compiled."""
    imports, body = "", ""
    for found in _SNIPPET.finditer(readme):
        code = found["code"]
        imports += "".join(_IMPORT.findall(code))
        rest = _IMPORT.sub("", code)
        body += f"export async function notRun() {{\n{rest}}}\n" if found["not_run"] else rest
    assert body.count("candela") > 5
    return f"{imports}{body}process.exit(0);\n"


def _run(node: Node, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [node.program, *arguments],
        cwd=cwd,
        env=node.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
