"""`python -m supervisor reset`: begin with an empty data directory. The old one is moved aside, not deleted."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from supervisor.datadir import DataDir, DataDirInUseError, DataDirLock


def reset(data: DataDir, *, sure: bool = False, ask: TextIO = sys.stdin, out: TextIO = sys.stdout) -> int:
    """Move the data directory aside after a yes; return 0, or 1 when nothing was changed.

    The files stay until somebody deletes them: a reset is easily asked for in the wrong terminal. Keys that lie
    elsewhere (CANDELA_KEYS_DIR) stay where they are.
    """
    if not data.root.is_dir():
        print(f"{data.root} does not exist: there is nothing to reset", file=out)
        return 0
    if not sure and not _agreed(data.root, ask, out):
        print("nothing was changed", file=out)
        return 1
    aside = data.root.with_name(f"{data.root.name}.before-reset-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    try:
        data.run.mkdir(mode=0o700, exist_ok=True)
        with DataDirLock(data):
            data.root.rename(aside)
    except (DataDirInUseError, OSError) as error:
        print(f"nothing was changed: {error}", file=sys.stderr)
        return 1
    print(f"{data.root} is empty again: the next make run makes new keys and databases", file=out)
    print(f"  to undo:   mv {aside} {data.root}", file=out)
    print(f"  for good:  rm -r {aside}", file=out)
    return 0


def _agreed(root: Path, ask: TextIO, out: TextIO) -> bool:
    """Ask a person. Where nobody can answer, the answer is no."""
    print(f"This takes all accounts, files, keys and history out of {root}. Type yes to go on: ", end="", file=out)
    out.flush()
    answer = ask.readline()
    if not answer:
        print("\nnobody answered; YES=1 says it beforehand", file=out)
    return answer.strip().lower() == "yes"
