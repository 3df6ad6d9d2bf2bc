"""Builds the TypeScript client: its packages, its generated code, its JavaScript. Run it through `make client-ts`.

Each step is skipped when nothing that it depends on has changed. Nothing of the result is committed:
`node_modules`, `src/gen` and `dist` in clients/typescript.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from google.protobuf import descriptor_pb2

from scripts.node import Node, NoNodeError, find_node

HOME: Final = Path(__file__).parents[1] / "clients/typescript"
_BUILD: Final = Path(__file__).parents[1] / "build"
_CONTRACT: Final = _BUILD / "candela-public.binpb"
_OWN: Final = "candela."


class BuildError(Exception):
    """A step failed; what it said was printed."""


class InstallError(BuildError):
    """The packages could not be installed, for example because no registry can be reached."""


def prepare() -> Node:
    """Bring the client up to date and return the Node to run it with; raises NoNodeError and BuildError."""
    node = find_node()
    _BUILD.mkdir(exist_ok=True)
    with Path(_BUILD, ".client-ts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        manifest = [HOME / "package.json", HOME / "package-lock.json", HOME / ".npmrc"]
        _step("install", manifest, HOME / "node_modules/.fits", lambda: _install(node))
        contract = [_CONTRACT, HOME / "buf.gen.yaml", HOME / "package-lock.json", Path(__file__)]
        _step("generate", contract, HOME / "src/gen/.fits", lambda: _generate(node))
        _step("compile", [*_sources(), HOME / "tsconfig.json", *manifest], HOME / "dist/.fits", lambda: _compile(node))
    return node


def _sources() -> list[Path]:
    return sorted(path for folder in ("src", "tests", "conformance") for path in (HOME / folder).rglob("*.ts"))


def _step(name: str, inputs: Iterable[Path], mark: Path, work: Callable[[], None]) -> None:
    """Do some work unless `mark` says that it was done from the same inputs."""
    digest = hashlib.sha256()
    for path in inputs:
        digest.update(f"{path.relative_to(HOME.parents[1])}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    wanted = digest.hexdigest()
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return
    print(f"==> TypeScript client: {name}", flush=True)
    mark.unlink(missing_ok=True)
    try:
        work()
    except subprocess.CalledProcessError as error:
        kind = InstallError if name == "install" else BuildError
        raise kind(f"the TypeScript client: {name} failed") from error
    mark.write_text(wanted, encoding="utf-8")


def _install(node: Node) -> None:
    node.run_npm("ci", "--no-progress", "--loglevel=error", cwd=HOME)


def _generate(node: Node) -> None:
    """Make everything in a scratch folder and put it in place in one step."""
    target = HOME / "src/gen"
    with tempfile.TemporaryDirectory(dir=_BUILD, prefix="client-ts-") as scratch:
        code = Path(scratch, "gen")
        arguments: list[str | Path] = ["generate", _CONTRACT, "--template", HOME / "buf.gen.yaml", "--output", code]
        subprocess.run(
            [Path(sys.executable).parent / "buf", *arguments, "--exclude-path", "google/protobuf"],
            cwd=HOME,
            env=node.environment,
            check=True,
        )
        (code / "services.ts").write_text(services(_CONTRACT.read_bytes()), encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(code, target)


def services(contract: bytes) -> str:
    """Return the module that names every public service, from a descriptor set."""
    imports, entries = [], []
    for file in descriptor_pb2.FileDescriptorSet.FromString(contract).file:
        for service in file.service if file.package.startswith(_OWN) else ():
            module = f"./{file.name.removesuffix('.proto')}_pb.js"
            name = service.name.removesuffix("Service")
            imports.append(f'import {{ {service.name} }} from "{module}";')
            entries.append(f"  {name[0].lower()}{name[1:]}: {service.name},")
    return "\n".join(
        [
            "// Generated from the contract by scripts/client_ts.py.",
            *sorted(imports),
            "",
            "/** Every public service by its short name. */",
            "export const services = {",
            *sorted(entries),
            "} as const;",
            "",
            "export type ServiceMap = typeof services;",
            "",
        ]
    )


def _compile(node: Node) -> None:
    """Compile; files whose source is gone go, too."""
    shutil.rmtree(HOME / "dist", ignore_errors=True)
    node.run("node_modules/typescript/bin/tsc", "--project", "tsconfig.json", cwd=HOME)


def main(arguments: list[str]) -> int:
    """Build and say what could not be. With `--if-possible` no Node and no registry is no failure."""
    try:
        prepare()
    except (NoNodeError, InstallError) as error:
        print(error, file=sys.stderr)
        return 0 if arguments == ["--if-possible"] else 1
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
