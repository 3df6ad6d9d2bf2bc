"""The supervisor's commands as a person runs them: `make backup`, `make restore`, `make restart`."""

import subprocess
import sys
from pathlib import Path

from supervisor.datadir import DataDir

_ROOT = Path(__file__).parents[2]


def supervise(data: DataDir, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a data directory, with nobody at the keyboard, and return how it ended and what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments],
        cwd=_ROOT,
        env={"CANDELA_DATA_DIR": str(data.root), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
