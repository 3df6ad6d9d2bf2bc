"""The contract as it was last released: `protos/baseline/<module>.binpb`, one compiled image for each module of ours.

`buf breaking` compares the working tree with them. Only `make release` moves them (`python -m scripts.baseline`):
comparing a branch with itself would prove nothing.
"""

import subprocess
import sys
from pathlib import Path

MODULES = ("protos/public", "protos/internal")
DIRECTORY = Path("protos/baseline")


def image(module: str) -> Path:
    """Returns where the released image of a module (`protos/public`) lies."""
    return DIRECTORY / f"{Path(module).name}.binpb"


def comparison(module: str) -> list[str]:
    """Returns the command that exits with a status other than 0 when `module` breaks callers of its baseline."""
    return [_buf(), "breaking", module, "--against", str(image(module))]


def write() -> None:
    """Makes the contract of the working tree the new baseline; raises CalledProcessError when it does not compile."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for module in MODULES:
        subprocess.run([_buf(), "build", module, "--exclude-source-info", "--output", str(image(module))], check=True)


def main() -> None:
    """Moves the baseline, after printing what that breaks for those who call the released contract."""
    for module in filter(lambda module: image(module).exists(), MODULES):
        broken = subprocess.run(comparison(module), stdout=subprocess.PIPE, text=True, check=False).stdout
        print(f"{module}: {'breaks callers of the last release:' if broken else 'breaks nothing'}")
        print(broken, end="")
    write()


def _buf() -> str:
    return str(Path(sys.executable).parent / "buf")


if __name__ == "__main__":
    main()
