"""`python -m services.recognition.main [migrate]`: without a word it serves.

Each command loads only what it needs: `migrate` runs before every start and has nothing to do most times.
"""

import gc
import sys
from pathlib import Path

MIGRATIONS = Path(__file__).parent.parent / "migrations"


def main(arguments: list[str]) -> int:
    """Do what the command line says and return the exit status."""
    if not arguments:
        return _serve()
    if arguments == ["migrate"]:
        return _migrate()
    sys.stderr.write("usage: python -m services.recognition.main [migrate]\n")
    return 2


def _serve() -> int:
    gc.disable()  # until the service is ready: nothing that the imports make is garbage
    from services.kit.bootstrap import run  # noqa: PLC0415 - see above
    from services.recognition.main.compose import compose  # noqa: PLC0415
    from services.recognition.settings import RecognitionSettings  # noqa: PLC0415

    run(RecognitionSettings, compose)
    return 0


def _migrate() -> int:
    from services.kit.migrations import migrate  # noqa: PLC0415
    from services.recognition.settings import RecognitionSettings  # noqa: PLC0415

    migrate(RecognitionSettings().database_url, MIGRATIONS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
