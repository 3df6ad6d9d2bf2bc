"""The command `envoy-config-tool`: builds, validates and compares the gateway's configuration."""

import argparse
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from gateway_envoy.build import bootstrap, to_yaml
from gateway_envoy.config import GatewayConfig, StaticFile
from gateway_envoy.contract import ContractError
from gateway_envoy.documents import DOCUMENTS
from gateway_envoy.golden.methods import MESH_METHODS, METHODS
from gateway_envoy.settings import GatewaySettings, resolve

GOLDEN: Final = Path(__file__).parent / "golden" / "default.yaml"


def run() -> int:
    """Run as the console script."""
    return main(sys.argv[1:])


def main(arguments: list[str]) -> int:
    """Run one command; return 0 when all is well, 1 when a comparison or Envoy says no, 2 for wrong settings."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ContractError, FileNotFoundError, ValueError) as error:
        print(_message(error), file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="envoy-config-tool",
        description="Builds the gateway's configuration for Envoy. Settings are CANDELA_… variables (docs/gateway.md).",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="write the configuration")
    build.add_argument("--out", type=Path, help="file to write; standard output if missing")
    build.set_defaults(run=_build)
    validate = commands.add_parser("validate", help="let Envoy check the configuration of these settings")
    validate.set_defaults(run=_validate)
    diff = commands.add_parser("diff", help="compare a configuration file with what would be built")
    diff.add_argument("file", type=Path)
    diff.set_defaults(run=_diff)
    golden = commands.add_parser("golden", help="update the committed configuration of the default settings")
    golden.set_defaults(run=_golden)
    return parser


def _build(options: argparse.Namespace) -> int:
    text = to_yaml(bootstrap(_config()))
    if options.out is None:
        print(text, end="")
        return 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    fresh = options.out.with_name(f".{options.out.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(options.out)
    return 0


def _validate(options: argparse.Namespace) -> int:
    return validate(to_yaml(bootstrap(_config())))


def _diff(options: argparse.Namespace) -> int:
    old = options.file.read_text(encoding="utf-8")
    new = to_yaml(bootstrap(_config()))
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), str(options.file), "these settings")
    sys.stdout.writelines(lines)
    return int(old != new)


def _golden(options: argparse.Namespace) -> int:
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(golden_text(), encoding="utf-8")
    return 0


def golden_text() -> str:
    """Return the configuration of the default settings and a contract of its own, whatever the environment says."""
    config = resolve(GatewaySettings.model_construct())
    return to_yaml(bootstrap(replace(config, methods=METHODS, mesh_methods=MESH_METHODS)))


def _config() -> GatewayConfig:
    """Return the configuration of the environment, with the folders that Envoy expects and the documents there are."""
    config = resolve(GatewaySettings())
    if not config.jwks.is_file():
        raise ValueError(f"{config.jwks} is missing: the supervisor makes the keys (`make run`)")
    Path(config.access_log).parent.mkdir(parents=True, exist_ok=True)
    return replace(config, documents=tuple(document for document in DOCUMENTS if _there(document)))


def _there(document: StaticFile) -> bool:
    if document.file.is_file():
        return True
    print(f"{document.file} is missing: {document.path} will not be served", file=sys.stderr)
    return False


def validate(text: str) -> int:
    """Let Envoy check a configuration without starting it; return its exit status."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        command = [_envoy(), "--mode", "validate", "-c", file.name, "--log-level", "warning"]
        return subprocess.run(command, check=False).returncode


def _envoy() -> str:
    """Return Envoy's path: beside the interpreter, where the wheel puts it, or on PATH."""
    folders = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    if found := shutil.which("envoy", path=folders):
        return found
    raise FileNotFoundError("envoy is neither beside Python nor on PATH: install requirements/run.txt")


def _message(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "\n".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
    return str(error)
