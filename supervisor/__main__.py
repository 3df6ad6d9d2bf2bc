"""`python -m supervisor COMMAND`. Each command imports only what it needs: `run` is the one that stays in memory."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from supervisor.backup.cli import DATA_COMMANDS, add_commands, run_command
from supervisor.settings import SettingsError, SupervisorSettings

_EPILOG = """settings: CANDELA_DATA_DIR (default .candela in the repository) and CANDELA_PORT_BASE (default 8080)
choose the mesh; all other CANDELA_… variables are handed on to the processes (docs/configuration.md)."""


# As the shell counts a program that SIGINT or SIGPIPE ended.
_INTERRUPTED, _READER_GONE = 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Ctrl-C ends it without a traceback, however early it comes."""
    try:
        options = _parser().parse_args(arguments)
        return _run(options)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # `… status | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE


def _run(options: argparse.Namespace) -> int:
    try:
        settings = SupervisorSettings.read(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if options.command in DATA_COMMANDS:
        return run_command(options, settings)
    if options.command == "token":
        from supervisor.service_token import print_token  # noqa: PLC0415 — only what this command needs

        return print_token(settings.data, options.callee, options.caller)
    if options.command == "models":
        return _models(options, settings)
    return _command(options, settings)


def _models(options: argparse.Namespace, settings: SupervisorSettings) -> int:
    from supervisor.models import Wish, show_models  # noqa: PLC0415 — only what this command needs

    wish = Wish(options.name, options.json, options.measure, options.load, options.unload)
    return show_models(settings.data, wish)


def _command(options: argparse.Namespace, settings: SupervisorSettings) -> int:
    match options.command:
        case "run":
            from supervisor.run import run  # noqa: PLC0415 — only what this command needs

            return run(settings)
        case "status":
            from supervisor.status import show_status  # noqa: PLC0415 — only what this command needs

            return show_status(settings.data)
        case "restart":
            from supervisor.restart import restart  # noqa: PLC0415 — only what this command needs

            return restart(settings.data)
        case "top":
            from supervisor.top import show_top  # noqa: PLC0415 — only what this command needs

            return show_top(settings.data, once=options.once)
        case "trace":
            from supervisor.traces.show import show_traces  # noqa: PLC0415 — only what this command needs

            return show_traces(settings.data, options.id, count=options.count)
        case "doctor":
            from supervisor.doctor import doctor  # noqa: PLC0415 — only what this command needs

            return doctor(settings)
    raise AssertionError(f"argparse let {options.command!r} through")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m supervisor",
        description="Runs the whole Candela mesh on one machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "run",
        help="start every process, watch it, stop everything on Ctrl-C",
        description="Prepares the data directory, migrates the databases, starts every process and waits until each is "
        "healthy. What dies is started again. Ctrl-C stops everything in order, a second Ctrl-C at once.",
    )
    commands.add_parser(
        "status",
        help="show the processes that run, their health and their memory",
        description="Shows pid, health, restarts and proportional memory (PSS) of each process of the running mesh. "
        "Exit status 0 when the mesh is ready.",
    )
    commands.add_parser(
        "restart",
        help="restart every process but Redis, one after the other",
        description="Ends one process after the other in order and starts it again, each when the one before is "
        "healthy and used again. With CANDELA_REPLICAS=2 nobody notices. New code is taken up, databases are migrated; "
        "new settings and a new supervisor need a stop and a start. Exit status 0 when all were restarted.",
    )
    top = commands.add_parser(
        "top",
        help="show rates, latencies, queues and processes, live",
        description="Shows what the running mesh does, each second: rates, latencies and errors of the last ten "
        "seconds, queues and batches of the models, health, CPU and memory of each process. q leaves, s sorts. Without "
        "a terminal prints the figures since the start, once. Exit status 1 when no mesh runs.",
    )
    top.add_argument("--once", action="store_true", help="print the figures since the start and end")
    _add_models(commands)
    add_commands(commands)
    trace = commands.add_parser(
        "trace",
        help="list the last traces, or show one as a tree",
        description="Without ID lists the latest of the last 1,000 traces. With ID, or its first digits, prints that "
        "trace as a tree with times. Works while the mesh runs and after it.",
    )
    trace.add_argument("id", nargs="?", default="", metavar="ID", help="the trace's id, or how it begins")
    trace.add_argument("-n", dest="count", type=int, default=20, help="how many traces to list (default: 20)")
    _add_token(commands)
    commands.add_parser(
        "doctor",
        help="check this machine and the data directory, and say what to do",
        description="Checks Python, packages, programs, ports, data directory, keys, disk and databases. Exit status 0 "
        "when nothing is wrong.",
    )
    return parser


def _add_token(commands: Any) -> None:
    from supervisor.service_token import CALLEES  # noqa: PLC0415 — only names

    token = commands.add_parser(
        "token",
        help="print a service token, for calling the mesh's servers with a client of one's own",
        description="Prints a token that holds for five minutes, signed with the mesh key: send it as the metadata "
        "`authorization: Bearer TOKEN`. For clients of the Open Inference Protocol, grpcurl and the like.",
    )
    token.add_argument("--to", dest="callee", choices=CALLEES, default="inference", help="the server to call")
    token.add_argument("--as", dest="caller", default="operator", metavar="NAME", help="who calls, for the logs")


def _add_models(commands: Any) -> None:
    models = commands.add_parser(
        "models",
        help="show the models of the inference servers: states, invariance, what batches cost",
        description="Asks every inference server of the running mesh about its models. With NAME shows everything "
        "about one: batches, refusals, tenants, costs. Exit status 1 when no mesh runs or a server does not answer.",
    )
    models.add_argument("name", nargs="?", default="", metavar="NAME", help="one model, as name or name@version")
    models.add_argument("--json", action="store_true", help="print everything as JSON")
    models.add_argument(
        "--measure", action="store_true", help="measure first how far results depend on their batch (2 s a model)"
    )
    models.add_argument("--load", default="", metavar="NAME", help="load a model first, or load it anew")
    models.add_argument("--unload", default="", metavar="NAME", help="take a model out of service first")


if __name__ == "__main__":
    sys.exit(main())
