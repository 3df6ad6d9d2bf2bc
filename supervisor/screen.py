"""What the person in front of the terminal sees: colours on a terminal, plain lines elsewhere or with NO_COLOR."""

import os
import sys
from typing import TextIO

from services.kit.clock import SystemClock
from supervisor.quiet import Quiet, Verdict
from supervisor.settings import SupervisorSettings
from supervisor.specs import ProcessSpec, edge_url

_MAX_WARNING_CHARACTERS = 160

_RULE = "─" * 72


class Screen:
    """The reporter that prints."""

    def __init__(self, settings: SupervisorSettings, out: TextIO = sys.stdout) -> None:
        self._settings = settings
        self._out = out
        self._colours = out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._quiet = Quiet(SystemClock())
        self._stopping = False
        self._gone = False

    def header(self) -> None:
        """Say what starts where."""
        ports = self._settings.ports
        self._line(f"{self._paint('Candela', 'bold')}  data {self._settings.data.root}  ports from {ports.base}\n")

    def preparing(self, label: str) -> None:
        self._line(f"  {self._paint('…', 'dim')} {self._paint(label, 'dim')}")

    def made_keys(self, names: list[str]) -> None:
        """Say which keys the first start created."""
        if names:
            self.preparing(f"made keys: {', '.join(names)}")

    def ready(self, spec: ProcessSpec, seconds: float, *, restarted: bool) -> None:
        took = f"{seconds:5.1f} s" if seconds else "       "
        again = "  again" if restarted else ""
        self._line(f"  {self._paint('✔', 'green')} {spec.name:<14} {spec.address:<18} {took}{again}")

    def died(self, spec: ProcessSpec, how: str, delay: float) -> None:
        when = f"in {delay:.1f} s" if delay else "now"
        self._line(f"  {self._paint('✘', 'red')} {spec.name:<14} {how}; starts again {when}")

    def failing(self, spec: ProcessSpec, failures: int, tail: list[str]) -> None:
        self._line(f"  {self._paint('✘', 'red')} {spec.name:<14} failed {failures} times within a minute")
        self.tail(spec.name, tail)

    def unhealthy(self, spec: ProcessSpec, why: str) -> None:
        self._line(f"  {self._paint('!', 'yellow')} {spec.name:<14} {why}")

    def warning(self, spec: ProcessSpec, level: str, message: str) -> None:
        """Show a warning of a process: once in a minute, and a few in ten seconds; all of them are in its log."""
        text = message.splitlines()[0][:_MAX_WARNING_CHARACTERS] if message else ""
        verdict = self._quiet.judge(spec.name, text)
        if self._stopping or verdict is Verdict.DROP:
            return
        if verdict is Verdict.LAST:
            text = f"and more: {self._settings.data.logs / spec.name}.jsonl"
        colour = "yellow" if level == "WARNING" else "red"
        self._line(f"  {self._paint('!', colour)} {spec.name:<14} {self._paint(level.lower(), colour)} {text}")

    def stopping(self, names: list[str]) -> None:
        if not self._stopping:
            self._stopping = True
            self._line("")
        self._line(f"  {self._paint('…', 'dim')} stopping {', '.join(names)}")

    def overdue(self, spec: ProcessSpec, grace: float) -> None:
        self._line(f"  {self._paint('!', 'yellow')} {spec.name:<14} did not finish within {grace:.0f} s, killed")

    def stopped(self) -> None:
        """Say that nothing is left."""
        self._line("Stopped.")

    def failure(self, message: str, tail: list[str] | None = None) -> None:
        """Say why the mesh does not start."""
        print(f"{self._paint('Cannot start:', 'red')} {message}", file=sys.stderr, flush=True)
        for line in tail or []:
            print(f"    {line}", file=sys.stderr, flush=True)
        if tail:
            hint = f"All logs are in {self._settings.data.logs}; make doctor checks this machine and the data."
            print(hint, file=sys.stderr, flush=True)

    def tail(self, name: str, lines: list[str]) -> None:
        """Show what a process printed last."""
        for line in lines:
            self._line(f"      {self._paint(line[:_MAX_WARNING_CHARACTERS], 'dim')}")
        self._line(f"      all of it: {self._settings.data.logs / name}.jsonl")

    def welcome(self, seconds: float) -> None:
        """Say that the mesh is ready, where things are, and how to try it."""
        ports, data = self._settings.ports, self._settings.data
        edge = edge_url(self._settings)
        self._line(f"\n{self._paint('Ready', 'bold green')} in {seconds:.1f} s\n")
        for what, where in (
            ("JSON, gRPC, gRPC-Web", edge),
            ("OpenAPI document", f"{edge}/openapi.json"),
            ("Envoy admin", f"http://127.0.0.1:{ports.envoy_admin}"),
            ("Metrics", f"http://127.0.0.1:{ports.metrics('supervisor')}/metrics"),
            ("Logs", str(data.logs)),
        ):
            self._line(f"  {what:<21} {self._paint(where, 'cyan')}")
        self._line(f"\n{self._paint('Try it', 'bold')}: paste these one after another in a second terminal\n")
        for title, command in requests_to_paste(self._settings):
            self._line(f"  {self._paint('# ' + title, 'dim')}")
            self._line("\n".join(f"  {line}" for line in command.splitlines()) + "\n")
        self._line(f"  make trace shows what happened, Ctrl-C stops everything.\n{self._paint(_RULE, 'dim')}")

    def _line(self, text: str) -> None:
        if self._gone:
            return
        try:
            print(text, file=self._out, flush=True)
        except OSError:
            # The terminal was closed, or whoever read the pipe went away. The mesh goes on, or stops in order.
            self._gone = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())

    def _paint(self, text: str, style: str) -> str:
        if not self._colours:
            return text
        # Imported here: a mesh that logs to a file never needs rich.
        from rich.color import ColorSystem  # noqa: PLC0415 — see above
        from rich.style import Style  # noqa: PLC0415 — see above

        return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)


def requests_to_paste(settings: SupervisorSettings) -> tuple[tuple[str, str], ...]:
    """Return the titles and the shell commands of the first three requests: register, log in, recognise."""
    edge = edge_url(settings)
    return (
        ("register", _REGISTER.replace("EDGE", edge)),
        ("log in", _LOG_IN.replace("EDGE", edge)),
        ("recognise a page", _RECOGNISE.replace("EDGE", edge).replace("PAGE", str(settings.data.sample_page))),
    )


_REGISTER = """\
curl -s EDGE/v1/users -H 'content-type: application/json' \\
  -d '{"email": "ada@example.com", "username": "ada", "password": "correct horse battery"}' |
  python3 -m json.tool"""

_LOG_IN = """\
TOKEN=$(curl -s EDGE/v1/sessions -H 'content-type: application/json' \\
  -d '{"identifier": "ada@example.com", "password": "correct horse battery"}' |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["accessToken"])')"""

_RECOGNISE = """\
printf '{"content": "%s"}' "$(base64 -w0 'PAGE')" |
  curl -s EDGE/v1/documents:recognize -H 'content-type: application/json' \\
  -H "authorization: Bearer $TOKEN" -d @- | python3 -m json.tool | head -60"""
