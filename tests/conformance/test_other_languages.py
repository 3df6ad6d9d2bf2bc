"""The templates for Go and Java: what they generate compiles with Debian's toolchains, and so do the examples."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.binaries import NOT_RUN, require_binary, requires_binary
from tests.support.edge import new_email
from tests.support.mesh import Mesh

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parents[2]
_CONTRACT = _ROOT / "build/candela-public.binpb"
_GO_LIBRARIES = Path("/usr/share/gocode")
_JARS = Path("/usr/share/java")
_CLASS_PATH = ("protobuf", "grpc-api", "grpc-stub", "grpc-protobuf", "guava", "geronimo-annotation-1.3-spec")


@requires_binary("protoc-gen-go")
@requires_binary("protoc-gen-go-grpc")
def test_go(tmp_path: Path, mesh: Mesh) -> None:
    go = require_binary("go")
    if not (_GO_LIBRARIES / "src/google.golang.org/grpc").is_dir():
        pytest.skip(f"{NOT_RUN}no gRPC for Go on this machine (Debian package golang-google-grpc-dev)")
    own = tmp_path / "src/candela.dev/client"
    _generate("go", own / "gen", "google")
    (own / "example").mkdir()
    (own / "example/main.go").write_bytes((_ROOT / "clients/go/example/main.go").read_bytes())
    paths = {"GO111MODULE": "off", "GOPATH": f"{tmp_path}:{_GO_LIBRARIES}", "GOCACHE": str(tmp_path / "cache")}
    _run([go, "build", "./..."], own, paths)
    _run([go, "build", "-o", "example", "./example"], own, paths)
    email = new_email()
    told = _run([own / "example" / "example", mesh.target, email], own, paths)
    assert f"{email} free" in told
    assert "Unauthenticated" in told
    assert "TOKEN_MISSING" in told


@requires_binary("grpc_java_plugin")
@requires_binary("protoc")
def test_java(tmp_path: Path) -> None:
    compiler = require_binary("javac")
    jars = [_JARS / f"{name}.jar" for name in _CLASS_PATH]
    if lacking := [jar.name for jar in jars if not jar.is_file()]:
        package = "libgrpc-java, libprotobuf-java, libgeronimo-annotation-1.3-spec-java"
        pytest.skip(f"{NOT_RUN}no {', '.join(lacking)} on this machine (Debian packages {package})")
    _generate("java", tmp_path / "java", "google/protobuf")
    sources = [*(tmp_path / "java").rglob("*.java"), _ROOT / "clients/java/example/Example.java"]
    assert len(sources) > 500
    (tmp_path / "sources").write_text("\n".join(f'"{path}"' for path in sources))
    class_path = os.pathsep.join(map(str, jars))
    _run([compiler, "-nowarn", "-proc:none", "-d", "classes", "-cp", class_path, "@sources"], tmp_path, {})
    assert (tmp_path / "classes/Example.class").is_file()


def _generate(language: str, target: Path, left_out: str) -> None:
    target.mkdir(parents=True)
    template = _ROOT / "clients" / language / "buf.gen.yaml"
    buf = Path(sys.executable).parent / "buf"
    command: list[str | Path] = [buf, "generate", _CONTRACT, "--template", template, "--output", target]
    _run([*command, "--exclude-path", left_out], target, {})


def _run(command: list[str | Path], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
