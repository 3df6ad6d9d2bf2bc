"""`python -m services.user.main [migrate | verify-audit | make-admin WHO]`: without a word it serves.

Each command loads only what it needs: `migrate` runs before every start and has nothing to do most times.
"""

import gc
import sys
from pathlib import Path

MIGRATIONS = Path(__file__).parent.parent / "migrations"
_USAGE = "usage: python -m services.user.main [migrate | verify-audit | make-admin EMAIL-PHONE-OR-USERNAME]\n"


def main(arguments: list[str]) -> int:
    """Do what the command line says and return the exit status."""
    if not arguments:
        return _serve()
    if arguments == ["migrate"]:
        return _migrate()
    if arguments == ["verify-audit"]:
        return _verify_audit()
    if len(arguments) == 2 and arguments[0] == "make-admin":
        return _make_admin(arguments[1])
    sys.stderr.write(_USAGE)
    return 2


def _serve() -> int:
    gc.disable()  # until the service is ready: nothing that the imports make is garbage
    from services.kit.bootstrap import run  # noqa: PLC0415 - see above
    from services.user.main.compose import compose  # noqa: PLC0415
    from services.user.settings import UserSettings  # noqa: PLC0415

    run(UserSettings, compose)
    return 0


def _migrate() -> int:
    from services.kit.migrations import migrate  # noqa: PLC0415
    from services.user.settings import UserSettings  # noqa: PLC0415

    migrate(UserSettings().database_url, MIGRATIONS)
    return 0


def _verify_audit() -> int:
    from services.user.main.verify import verify_audit  # noqa: PLC0415
    from services.user.settings import UserSettings  # noqa: PLC0415

    return verify_audit(UserSettings())


def _make_admin(identifier: str) -> int:
    from services.user.main.promote import promote  # noqa: PLC0415
    from services.user.settings import UserSettings  # noqa: PLC0415

    return promote(UserSettings(), identifier)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
