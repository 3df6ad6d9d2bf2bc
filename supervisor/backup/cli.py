"""The commands about a data directory, each of which imports only what it needs."""

import argparse

from supervisor.settings import SupervisorSettings

DATA_COMMANDS = frozenset({"backup", "restore", "reset"})


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add what the commands take to the supervisor's own."""
    backup = commands.add_parser(
        "backup",
        help="write keys, databases, objects and Redis's log to one file",
        description="Works while the mesh runs and while it does not. All databases are of one moment. The file is "
        "read back before it gets its name, is readable for its owner only, and holds the keys. Nothing is replaced.",
    )
    backup.add_argument(
        "to", nargs="?", default="", metavar="FILE", help="default: a new file beside the data directory"
    )
    restore = commands.add_parser(
        "restore",
        help="put a backup in the place of the data directory",
        description="Refuses while a mesh runs. Every byte is checked first, the new directory is made beside the old "
        "one, older databases are migrated, and then it is moved into place. Prints how long that took (RTO) and how "
        "old the data are (RPO).",
    )
    restore.add_argument("archive", metavar="FILE", help="what `backup` wrote")
    restore.add_argument("--force", action="store_true", help="move aside what is there already")
    reset = commands.add_parser(
        "reset",
        help="begin with an empty data directory",
        description="Moves the data directory aside, after asking. Refuses while a mesh runs.",
    )
    reset.add_argument("--yes", action="store_true", help="do not ask")


def run_command(options: argparse.Namespace, settings: SupervisorSettings) -> int:
    """Run `backup`, `restore` or `reset` and return its exit status."""
    if options.command == "backup":
        from supervisor.backup.create import backup  # noqa: PLC0415 — see above

        return backup(settings, options.to)
    if options.command == "restore":
        from supervisor.backup.restore import restore  # noqa: PLC0415 — see above

        return restore(settings, options.archive, force=options.force)
    from supervisor.backup.reset import reset  # noqa: PLC0415 — see above

    return reset(settings.data, sure=options.yes)
