"""`python -m services.recognition.main [migrate | move TENANT USER SHARD]`: without a word it serves.

Each command loads only what it needs: `migrate` runs before every start and has nothing to do most times.
"""

import gc
import sys
from pathlib import Path

MIGRATIONS = Path(__file__).parent.parent / "migrations"
_USAGE = "usage: python -m services.recognition.main [migrate | move TENANT USER SHARD]\n"


def main(arguments: list[str]) -> int:
    """Do what the command line says and return the exit status."""
    if not arguments:
        return _serve()
    if arguments == ["migrate"]:
        return _migrate()
    if arguments[:1] == ["move"] and len(arguments) == 4:
        return _move(*arguments[1:])
    sys.stderr.write(_USAGE)
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

    for url in RecognitionSettings().database_urls:
        migrate(url, MIGRATIONS)
    return 0


def _move(tenant: str, user: str, shard: str) -> int:
    from services.kit.shard_map import User  # noqa: PLC0415
    from services.recognition.main.move import move  # noqa: PLC0415
    from services.recognition.settings import RecognitionSettings  # noqa: PLC0415

    return move(RecognitionSettings(), User(tenant, user), shard)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
